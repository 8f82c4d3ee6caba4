using Iced.Intel;
using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Privileged;
using Vivarium.Memory;
using RflagsBits = Vivarium.Engine.Software.RflagsBits;

namespace Vivarium.Engine.Tests;

/// <summary>
/// One vCPU with RAM at 0, a ROM page and nothing else, and the tables that protected and long mode need. Tests set up
/// what they are about and call the processor's parts directly.
/// </summary>
internal sealed unsafe class Processor : IDisposable
{
    public const ulong RamSize = 16 << 20;
    public const ulong RomGpa = 0x0800_0000;
    public const ulong MmioGpa = 0x0900_0000;

    public const ulong Gdt = 0x1000;
    public const ulong Idt = 0x2000;
    public const ulong Tss = 0x3000;
    public const ulong Ldt = 0x3800;

    public const ushort Code32 = 0x08;
    public const ushort Data32 = 0x10;
    public const ushort Code64 = 0x18;
    public const ushort UserCode32 = 0x20 | 3;
    public const ushort UserData32 = 0x28 | 3;
    public const ushort UserCode64 = 0x30 | 3;
    public const ushort Code16 = 0x38;
    public const ushort Conforming32 = 0x40;
    public const ushort AbsentData = 0x48;
    public const ushort TssSelector = 0x50;
    public const ushort Free = 0x60;

    public const ulong KernelStack = 0x9000;
    public const ulong InnerStack = 0xA000;
    public const ulong UserStack = 0xB000;
    public const ulong IstStack = 0xC008;
    public const ulong Program = 0x10000;

    private readonly SoftwareEngine _engine;

    public Processor(string model = "x86-64-v2")
    {
        Memory = new GuestMemory(RamSize + 0x1000);
        Memory.AddSlot(0, RamSize);
        Memory.AddSlot(RomGpa, 0x1000, readOnly: true);
        _engine = new SoftwareEngine(Memory, CpuModel.Create(model), TestOptions.Engine);
        Cpu = _engine.Create(0, Bus);
        SetDescriptor(Code32, 0x00CF_9B00_0000_FFFF);
        SetDescriptor(Data32, 0x00CF_9300_0000_FFFF);
        SetDescriptor(Code64, 0x00AF_9B00_0000_FFFF);
        SetDescriptor(UserCode32, 0x00CF_FB00_0000_FFFF);
        SetDescriptor(UserData32, 0x00CF_F300_0000_FFFF);
        SetDescriptor(UserCode64, 0x00AF_FB00_0000_FFFF);
        SetDescriptor(Code16, 0x0000_9B00_0000_FFFF);
        SetDescriptor(Conforming32, 0x00CF_9F00_0000_FFFF);
        SetDescriptor(AbsentData, 0x00CF_1300_0000_FFFF);
        SetDescriptor(TssSelector, 0x0000_8B00_0000_0067 | (Tss << 16));
        S->GdtrBase = Gdt;
        S->GdtrLimit = 0xFF;
        S->IdtrBase = Idt;
        S->IdtrLimit = 0xFFF;
        S->Tr = new NativeSegment { Base = Tss, Limit = 0x67, Selector = TssSelector, Attributes = 0x8B };
        S->Ldtr.Attributes = SegmentRegister.Unusable;
        S->Rip = Program;
        Cpu.Rflags = RflagsBits.Fixed;
    }

    public GuestMemory Memory { get; }

    public SoftwareVcpu Cpu { get; }

    public RecordingBus Bus { get; } = new();

    public NativeState* S => Cpu.S;

    /// <summary>Real mode as after reset but with CS at 0, SP 8000H and the IVT at 0.</summary>
    public Processor RealMode()
    {
        for (int i = 0; i < 6; i++)
        {
            *Cpu.Segment(i) = new NativeSegment { Limit = 0xFFFF, Attributes = i == 1 ? 0x9Bu : 0x93u };
        }

        S->IdtrBase = 0;
        S->IdtrLimit = 0x3FF;
        S->Gpr[4] = 0x8000;
        S->Rip = 0x7C00;
        Cpu.UpdateMode();
        return this;
    }

    /// <summary>32-bit protected mode, flat, without paging.</summary>
    public Processor Protected(int cpl = 0)
    {
        S->Cr0 = Cr0Bits.Pe;
        LoadFlat(cpl == 0 ? Code32 : UserCode32, cpl == 0 ? Data32 : UserData32);
        S->Gpr[4] = cpl == 0 ? KernelStack : UserStack;
        Memory.Write(Tss + 4, (uint)InnerStack);
        Memory.Write(Tss + 8, (uint)Data32);
        Cpu.UpdateMode();
        return this;
    }

    /// <summary>64-bit mode with the first 16 MiB mapped one to one for everybody by 2 MiB pages.</summary>
    public Processor Long(int cpl = 0)
    {
        S->Cr0 = Cr0Bits.Pe | Cr0Bits.Pg | Cr0Bits.Wp;
        S->Cr4 = Cr4Bits.Pae;
        S->Cr3 = 0x4000;
        S->Efer = EferBits.Lme | EferBits.Lma | EferBits.Sce | EferBits.Nxe;
        Memory.Write(0x4000, 0x5000ul | 7);
        Memory.Write(0x5000, 0x6000ul | 7);
        for (ulong i = 0; i < 8; i++)
        {
            Memory.Write(0x6000 + (i * 8), (i << 21) | 0x87);
        }

        LoadFlat(cpl == 0 ? Code64 : UserCode64, cpl == 0 ? Data32 : UserData32);
        S->Gpr[4] = cpl == 0 ? KernelStack : UserStack;
        Memory.Write(Tss + 4, InnerStack);
        Memory.Write(Tss + 36, IstStack);
        Cpu.FlushTlb(keepGlobal: false);
        Cpu.UpdateMode();
        return this;
    }

    public Processor Virtual8086()
    {
        Protected(3);
        for (int i = 0; i < 6; i++)
        {
            *Cpu.Segment(i) = new NativeSegment { Limit = 0xFFFF, Attributes = 0xF3 };
        }

        S->SystemFlags |= RflagsBits.Vm;
        S->Gpr[4] = 0x8000;
        Cpu.UpdateMode();
        return this;
    }

    public void SetDescriptor(ushort selector, ulong value) => Memory.Write(Gdt + (selector & 0xFFF8u), value);

    /// <summary>An interrupt or trap gate (type 6, 7, 14, 15) or a task gate.</summary>
    public void SetGate(int vector, ushort selector, ulong offset, uint type = 14, int dpl = 0, int ist = 0, bool present = true)
    {
        ulong low = (offset & 0xFFFF) | ((ulong)selector << 16) | ((ulong)ist << 32) | ((ulong)type << 40)
            | ((ulong)dpl << 45) | ((present ? 1ul : 0) << 47) | ((offset >> 16 & 0xFFFF) << 48);
        bool wide = Cpu.LongModeActive;
        Memory.Write(Idt + ((ulong)vector * (wide ? 16u : 8u)), low);
        if (wide)
        {
            Memory.Write(Idt + ((ulong)vector * 16) + 8, offset >> 32);
        }
    }

    /// <summary>Decodes one instruction at RIP and has its family emulate it. Guest exceptions come out as they are raised.</summary>
    public void Execute(params byte[] code)
    {
        var decoder = Decoder.Create(Cpu.CodeBits, code);
        decoder.IP = S->Rip;
        Instruction instruction = decoder.Decode();
        Assert.NotEqual(Code.INVALID, instruction.Code);
        Cpu.NextRip = instruction.NextIP;
        var handler = PrivilegedTable.Find(instruction);
        Assert.True(handler != null, $"{instruction} is not emulated");
        handler(Cpu, instruction);
        S->Rip = Cpu.NextRip;
    }

    public GuestException Faults(params byte[] code) => Assert.Throws<GuestException>(() => Execute(code));

    /// <summary>The top of the guest's stack, lowest address first.</summary>
    public ulong[] Frame(int count, int size)
    {
        ulong at = S->Ss.Base + S->Gpr[4];
        return [.. Enumerable.Range(0, count).Select(i => Cpu.LoadSystem(at + (ulong)(i * size), size))];
    }

    public void PushFrame(int size, params ulong[] values)
    {
        ulong at = S->Ss.Base + S->Gpr[4] - (ulong)(values.Length * size);
        S->Gpr[4] -= (ulong)(values.Length * size);
        for (int i = 0; i < values.Length; i++)
        {
            Cpu.StoreSystem(at + (ulong)(i * size), size, values[i]);
        }
    }

    public void Dispose()
    {
        Cpu.Dispose();
        _engine.Dispose();
        Memory.Dispose();
    }

    private void LoadFlat(ushort code, ushort data)
    {
        Assert.True(Cpu.TryReadDescriptor(code, out Descriptor cs));
        Assert.True(Cpu.TryReadDescriptor(data, out Descriptor ds));
        for (int i = 0; i < 6; i++)
        {
            *Cpu.Segment(i) = i == 1 ? cs.ToSegment(code) : ds.ToSegment(data);
        }
    }
}
