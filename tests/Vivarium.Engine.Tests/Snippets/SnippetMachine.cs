using System.Runtime.InteropServices;
using Iced.Intel;
using Vivarium.Engine.Software;
using Vivarium.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>
/// One vCPU behind its public contract, some RAM with the tables that its mode needs, and a handler for every vector that
/// halts. Tests write a snippet at <see cref="Code"/>, run it until it halts or faults, and look at what it left.
/// </summary>
internal sealed class SnippetMachine : IDisposable
{
    public const ulong RamSize = 16 << 20;
    public const ulong MmioGpa = 0x4000_0000;

    /// <summary>Host memory for regions that a test maps and takes away.</summary>
    private const ulong SpareMemory = 1 << 20;

    public const ulong Gdt = 0x1000;
    public const ulong Idt = 0x2000;
    public const ulong Tss = 0x3000;
    public const ulong Handlers = 0x5000;
    public const ulong StackPage = 0x8000;
    public const ulong Stack = 0x9000;
    public const ulong InnerStack = 0xA000;
    public const ulong IstStack = 0xC000;

    /// <summary>Up from here pages are the user's when the snippet is.</summary>
    public const ulong FirstUserPage = 0x1_0000;
    public const ulong UserStack = 0x1_F000;
    public const ulong Code = 0x2_0000;
    public const ulong Data = 0x3_0000;
    public const ulong Tables = 0x10_0000;

    /// <summary>Up to here linear addresses are physical addresses.</summary>
    public const ulong IdentityEnd = 0x8_0000;

    /// <summary>A linear page that is not mapped until a test maps it, as is the one after it.</summary>
    public const ulong Spare = 0x9_0000;

    public const ushort Code32 = 0x08;
    public const ushort Data32 = 0x10;
    public const ushort Code64 = 0x18;
    public const ushort UserCode32 = 0x20 | 3;
    public const ushort UserData32 = 0x28 | 3;
    public const ushort UserCode64 = 0x30 | 3;
    public const ushort Code16 = 0x38;
    public const ushort Data16 = 0x40;
    public const ushort TssSelector = 0x50;
    public const ushort Free = 0x60;

    /// <summary>INT with this vector ends a snippet that may not halt.</summary>
    public const byte EndVector = 0x20;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly SoftwareEngine _engine;
    private readonly CpuModel _model;

    /// <summary>Kicks are not the test's.</summary>
    private readonly bool _chaos;
    private int _bits;

    private SnippetMachine(ulong ramSize = RamSize, int processors = 1, EngineOptions? options = null, Action<string>? warn = null)
    {
        _model = CpuModel.Create("host", processors: processors);
        Memory = new GuestMemory(ramSize + SpareMemory);
        Memory.AddSlot(0, ramSize);
        _engine = new SoftwareEngine(Memory, _model, options ?? TestOptions.Engine, warn);
        _chaos = (options ?? TestOptions.Engine).ChaosSeed is not null;
        Cpu = _engine.CreateVcpu(0, Bus);
        Cpu.GetState(State);
        Fill(Handlers, 0x1000, 0xF4);
        SetDescriptor(Code32, 0x00CF_9B00_0000_FFFF);
        SetDescriptor(Data32, 0x00CF_9300_0000_FFFF);
        SetDescriptor(Code64, 0x00AF_9B00_0000_FFFF);
        SetDescriptor(UserCode32, 0x00CF_FB00_0000_FFFF);
        SetDescriptor(UserData32, 0x00CF_F300_0000_FFFF);
        SetDescriptor(UserCode64, 0x00AF_FB00_0000_FFFF);
        SetDescriptor(Code16, Descriptor((uint)Code, 0xFFFF, 11, big: false));
        SetDescriptor(Data16, 0x0000_9300_0000_FFFF);
        SetDescriptor(TssSelector, 0x0000_8B00_0000_0067 | (Tss << 16));
        State.Rip = Code;
        State.Rflags = 2;
        State.Cr4 = Cr4Bits.OsFxsr | Cr4Bits.OsXmmExcpt;
        State.Xcr0 = 1;
    }

    public GuestMemory Memory { get; }

    public IVcpu Cpu { get; }

    public bool A20 { get => _engine.A20; set => _engine.A20 = value; }

    public CodeCacheUse CodeCache => _engine.CodeCache;

    public SnippetBus Bus { get; } = new();

    /// <summary>One more vCPU of the same machine.</summary>
    public IVcpu CreateVcpu(int index, IVcpuBus bus) => _engine.CreateVcpu(index, bus);

    /// <summary>What the next run begins with, and what the last one left.</summary>
    public CpuState State { get; } = new();

    /// <summary>Null without paging.</summary>
    public PageTables? Paging { get; private set; }

    public PageTables Pages => Paging!;

    public ulong Rax { get => State.Gpr[0]; set => State.Gpr[0] = value; }

    public ulong Rcx { get => State.Gpr[1]; set => State.Gpr[1] = value; }

    public ulong Rdx { get => State.Gpr[2]; set => State.Gpr[2] = value; }

    public ulong Rbx { get => State.Gpr[3]; set => State.Gpr[3] = value; }

    public ulong Rsp { get => State.Gpr[4]; set => State.Gpr[4] = value; }

    public ulong Rbp { get => State.Gpr[5]; set => State.Gpr[5] = value; }

    public ulong Rsi { get => State.Gpr[6]; set => State.Gpr[6] = value; }

    public ulong Rdi { get => State.Gpr[7]; set => State.Gpr[7] = value; }

    public bool Has(CpuFeature feature) => _model.Has(feature);

    /// <summary>Real mode: all bases 0 and limits FFFFH, the IVT at 0. Code below 64 KiB: at <see cref="RealCode"/>.</summary>
    public static SnippetMachine Real()
    {
        var machine = new SnippetMachine { _bits = 16 };
        CpuState state = machine.State;
        for (int i = 0; i < 6; i++)
        {
            state.Segments[i] = new SegmentRegister { Limit = 0xFFFF, Attributes = i == 1 ? 0x9Bu : 0x93u };
        }

        for (uint vector = 0; vector < 256; vector++)
        {
            machine.Memory.Write(vector * 4, (uint)Handlers + (vector * 16));
        }

        state.IdtrLimit = 0x3FF;
        state.Rip = RealCode;
        machine.Rsp = Stack;
        machine.SetUnusedSystemSegments();
        return machine;
    }

    public const ulong RealCode = 0x7C00;

    /// <summary>Protected mode with flat segments; 16-bit code has a base, so that it begins at 0.</summary>
    public static SnippetMachine Protected(int cpl = 0, PagingMode paging = PagingMode.None, int bits = 32)
    {
        var machine = new SnippetMachine { _bits = bits };
        CpuState state = machine.State;
        state.Cr0 = Cr0Bits.Pe | Cr0Bits.Et | Cr0Bits.Ne | Cr0Bits.Mp;
        machine.SetUpTables(cpl, wide: false);
        machine.SetUpPaging(paging, cpl);
        machine.Load(1, bits == 16 ? Code16 : cpl == 0 ? Code32 : UserCode32);
        state.Rip -= state.Segments[1].Base;
        return machine;
    }

    /// <summary>64-bit mode with 4-level paging.</summary>
    public static SnippetMachine Long(int cpl = 0, ulong ramSize = RamSize, int processors = 1, EngineOptions? options = null, Action<string>? warn = null)
    {
        var machine = new SnippetMachine(ramSize, processors, options, warn) { _bits = 64 };
        CpuState state = machine.State;
        state.Cr0 = Cr0Bits.Pe | Cr0Bits.Et | Cr0Bits.Ne | Cr0Bits.Mp;
        state.Efer = EferBits.Lme | EferBits.Lma | EferBits.Sce;
        machine.SetUpTables(cpl, wide: true);
        machine.SetUpPaging(PagingMode.FourLevel, cpl);
        machine.Load(1, cpl == 0 ? Code64 : UserCode64);
        return machine;
    }

    /// <summary>Compatibility mode: 32-bit code under 4-level paging.</summary>
    public static SnippetMachine Compatibility(int cpl = 0)
    {
        SnippetMachine machine = Long(cpl);
        machine._bits = 32;
        machine.Load(1, cpl == 0 ? Code32 : UserCode32);
        return machine;
    }

    /// <summary>Assembles a snippet at <see cref="Code"/> (<see cref="RealCode"/>) for the machine's code size; returns its end.</summary>
    public ulong Write(Action<Assembler> snippet) => Write(State.Rip, snippet, physical: State.Segments[1].Base + State.Rip);

    public ulong Write(ulong at, Action<Assembler> snippet, int bits = 0, ulong? physical = null)
    {
        var assembler = new Assembler(bits == 0 ? _bits : bits) { PreferShortBranch = false };
        snippet(assembler);
        var bytes = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(bytes), at, BlockEncoderOptions.DontFixBranches);
        Memory.Write(physical ?? at, bytes.ToArray());
        return at + (ulong)bytes.Length;
    }

    public ulong WriteBytes(ulong at, params byte[] code)
    {
        Memory.Write(at, code);
        return at + (ulong)code.Length;
    }

    public void Fill(ulong gpa, int length, byte value)
    {
        var bytes = new byte[length];
        bytes.AsSpan().Fill(value);
        Memory.Write(gpa, bytes);
    }

    /// <summary>Runs from <see cref="State"/> until the vCPU exits, at most for the time of <see cref="Patience"/>.</summary>
    public Stop Run()
    {
        Cpu.SetState(State);
        return Continue();
    }

    /// <summary>Runs on without touching the state, so that caches stay as they are.</summary>
    public Stop Continue()
    {
        VmExit exit;
        bool late = false;
        using (new Timer(_ => EndRun(), null, Patience, Timeout.InfiniteTimeSpan))
        {
            do
            {
                Cpu.Run(out exit);
            }
            while (_chaos && exit.Reason == ExitReason.Cancelled && !Volatile.Read(ref late));
        }

        void EndRun()
        {
            Volatile.Write(ref late, true);
            Cpu.Kick();
        }

        Cpu.GetState(State);
        Assert.True(exit.Reason != ExitReason.InternalError, exit.Detail);
        return Describe(exit.Reason);
    }

    /// <summary>Runs to the snippet's own HLT (or INT <see cref="EndVector"/>).</summary>
    public void RunToEnd()
    {
        Stop stop = Run();
        AssertEnd(stop);
    }

    public static void AssertEnd(Stop stop)
        => Assert.True(stop is { Reason: ExitReason.Halt, Vector: -1 or EndVector }, $"ended by {stop}");

    /// <summary>Runs into the handler of an exception.</summary>
    public Stop RunToFault(int vector)
    {
        Stop stop = Run();
        Assert.True(stop.Reason == ExitReason.Halt && stop.Vector == vector, $"expected vector {vector}, ended by {stop}");
        return stop;
    }

    /// <summary>Goes back to the start of the snippet, out of a handler or behind a HLT, keeping registers and memory.</summary>
    public void Restart(ulong rip)
    {
        State.Rip = rip;
        State.Halted = false;
    }

    public void SetDescriptor(ushort selector, ulong value) => Memory.Write(Gdt + (selector & 0xFFF8u), value);

    /// <summary>Loads a segment register from the GDT, or 64-bit mode's data segments likewise.</summary>
    public void Load(int segment, ushort selector)
    {
        ulong descriptor = Memory.Read<ulong>(Gdt + (selector & 0xFFF8u));
        uint limit = (uint)((descriptor & 0xFFFF) | (descriptor >> 32 & 0xF_0000));
        uint attributes = (uint)(descriptor >> 40) & 0xF0FF;
        State.Segments[segment] = new SegmentRegister
        {
            Base = (descriptor >> 16 & 0xFF_FFFF) | (descriptor >> 56 << 24),
            Limit = (attributes & SegmentRegister.Granularity) != 0 ? (limit << 12) | 0xFFF : limit,
            Selector = selector,
            Attributes = attributes,
        };
    }

    /// <summary>A data or code descriptor by its parts; the limit is in bytes.</summary>
    public static ulong Descriptor(uint @base, uint limit, uint type, int dpl = 0, bool big = true)
    {
        bool pages = limit > 0xF_FFFF;
        ulong units = pages ? limit >> 12 : limit;
        return (units & 0xFFFF) | ((units >> 16) << 48) | ((@base & 0xFF_FFFFul) << 16) | ((ulong)(@base >> 24) << 56)
            | ((0x90ul | type | ((ulong)dpl << 5)) << 40) | (big ? 1ul << 54 : 0) | (pages ? 1ul << 55 : 0);
    }

    /// <summary>Each fifth INT 0x30 maps a page to the other of two places. It works on RAX, RDI, R9 and R10.</summary>
    /// <param name="linear">The page, of 4 KiB.</param>
    /// <param name="difference">Of the places' addresses: the bits in which they differ.</param>
    /// <param name="byPage">The handler flushes it by INVLPG, else by CR3.</param>
    public void SetRemapper(ulong linear, ulong difference, bool byPage)
    {
        SetGate(0x30, Handlers + 0x308);
        Write(Handlers + 0x308, c =>
        {
            Label same = c.CreateLabel();
            c.dec(r9d);
            c.jnz(same);
            c.mov(r9d, 5);
            c.xor(__qword_ptr[r10], (int)difference);
            if (byPage)
            {
                c.invlpg(__byte_ptr[rdi]);
            }
            else
            {
                c.mov(rax, cr3);
                c.mov(cr3, rax);
            }

            c.Label(ref same);
            c.iretq();
        });
        State.Gpr[9] = 5;
        State.Gpr[10] = Pages.Entry(linear, 12);
        Rdi = linear;
    }

    /// <summary>Sends a vector's interrupt gate (trap gate: type 15) elsewhere than to its halting handler.</summary>
    public void SetGate(int vector, ulong offset, int ist = 0, uint type = 14, ushort? selector = null)
    {
        bool wide = (State.Efer & EferBits.Lma) != 0;
        ulong dpl = vector is 3 or 4 or >= EndVector ? 3ul : 0;
        ushort target = selector ?? (wide ? Code64 : Code32);
        ulong low = (offset & 0xFFFF) | ((ulong)target << 16) | ((ulong)ist << 32) | ((ulong)type << 40)
            | (dpl << 45) | (1ul << 47) | ((offset >> 16 & 0xFFFF) << 48);
        Memory.Write(Idt + ((ulong)vector * (wide ? 16u : 8u)), low);
        if (wide)
        {
            Memory.Write(Idt + ((ulong)vector * 16) + 8, offset >> 32);
        }
    }

    /// <summary>A little-endian value of the guest's XMM register.</summary>
    public UInt128 Xmm(int index) => MemoryMarshal.Read<UInt128>(State.Xsave.AsSpan(160 + (index * 16)));

    public void SetXmm(int index, UInt128 value)
    {
        MemoryMarshal.Write(State.Xsave.AsSpan(160 + (index * 16)), value);
        State.Xsave[512] |= 2;
    }

    public void SetMxcsr(uint value) => MemoryMarshal.Write(State.Xsave.AsSpan(24), value);

    public uint Mxcsr => MemoryMarshal.Read<uint>(State.Xsave.AsSpan(24));

    public void Dispose()
    {
        Cpu.Dispose();
        _engine.Dispose();
        Memory.Dispose();
    }

    private void SetUpTables(int cpl, bool wide)
    {
        CpuState state = State;
        state.GdtrBase = Gdt;
        state.GdtrLimit = 0xFF;
        state.IdtrBase = Idt;
        state.IdtrLimit = 0xFFF;
        SetUnusedSystemSegments();
        state.Tr = new SegmentRegister { Base = Tss, Limit = 0x67, Selector = TssSelector, Attributes = 0x8B };
        for (int vector = 0; vector < 256; vector++)
        {
            SetGate(vector, Handlers + ((ulong)vector * 16));
        }

        // No I/O permission bitmap: it would begin beyond the limit.
        Memory.Write(Tss + 0x66, (ushort)0x68);
        if (wide)
        {
            Memory.Write(Tss + 4, InnerStack);
            Memory.Write(Tss + 36, IstStack);
        }
        else
        {
            Memory.Write(Tss + 4, (uint)InnerStack);
            Memory.Write(Tss + 8, (uint)Data32);
        }

        for (int i = 0; i < 6; i++)
        {
            Load(i, cpl == 0 ? Data32 : UserData32);
        }

        Rsp = cpl == 0 ? Stack : UserStack;
    }

    private void SetUnusedSystemSegments()
    {
        State.Ldtr.Attributes = SegmentRegister.Unusable;
        State.Tr = new SegmentRegister { Limit = 0xFFFF, Attributes = 0x8B };
    }

    private void SetUpPaging(PagingMode mode, int cpl)
    {
        if (mode == PagingMode.None)
        {
            return;
        }

        Paging = new PageTables(Memory, mode, Tables);
        State.Cr3 = Paging.Root;
        State.Cr0 |= Cr0Bits.Pg | Cr0Bits.Wp;
        State.Cr4 |= mode == PagingMode.Bits32 ? Cr4Bits.Pse : Cr4Bits.Pae;
        State.Efer |= mode == PagingMode.Bits32 ? 0 : EferBits.Nxe;
        for (ulong page = 0; page < IdentityEnd; page += 0x1000)
        {
            bool user = cpl == 3 && page >= FirstUserPage;
            Paging.Map(page, page, PageTables.P | PageTables.Rw | (user ? PageTables.Us : 0));
        }

        // Tables for the spare pages, so that tests need only fill in the leaf.
        Paging.Unmap(Spare);
        for (ulong page = Tables; page < Tables + 0x4_0000; page += 0x1000)
        {
            Paging.Map(page, page, PageTables.P | PageTables.Rw);
        }
    }

    private Stop Describe(ExitReason reason)
    {
        ulong linear = State.Segments[1].Base + State.Rip;
        ulong offset = linear - Handlers - 1;
        bool inHandler = reason == ExitReason.Halt && offset < 0x1000 && offset % 16 == 0;
        if (!inHandler)
        {
            return new Stop(reason, -1, 0, State.Rip, State.Rflags, State.Segments[1].Selector, Rsp);
        }

        int vector = (int)(offset / 16);
        bool real = (State.Cr0 & Cr0Bits.Pe) == 0;
        bool wide = (State.Efer & EferBits.Lma) != 0;
        int size = real ? 2 : wide ? 8 : 4;
        ulong at = State.Segments[2].Base + Rsp;
        uint error = 0;
        if (!real && vector is 8 or (>= 10 and <= 14) or 17)
        {
            error = (uint)Slot(0);
            at += (ulong)size;
        }

        ushort cs = (ushort)Slot(1);
        bool hasStack = wide || (!real && (cs & 3) != 0);
        ulong rsp = hasStack ? Slot(3) : at + (ulong)(3 * size) - State.Segments[2].Base;
        return new Stop(reason, vector, error, Slot(0), Slot(2), cs, rsp);

        ulong Slot(int index)
        {
            ulong linear = at + (ulong)(index * size);
            ulong gpa = Physical(linear);
            return size switch { 2 => Memory.Read<ushort>(gpa), 4 => Memory.Read<uint>(gpa), _ => Memory.Read<ulong>(gpa) };
        }
    }

    /// <summary>Where a page of the stack stands; the stacks are mapped one to one unless a test says otherwise.</summary>
    private ulong Physical(ulong linear)
    {
        if (Paging is null || linear < IdentityEnd)
        {
            return linear;
        }

        return (Paging[linear] & 0x000F_FFFF_FFFF_F000) | (linear & 0xFFF);
    }
}
