using System.Runtime.InteropServices;
using Iced.Intel;
using Vivarium.Engine.Software.Host;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Privileged;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

/// <summary>
/// One virtual processor of the software engine. This file: the architectural registers as the emulated
/// instruction families use them. Beside it: the run loop, memory (Mmu/), state transfer.
/// </summary>
internal sealed unsafe partial class SoftwareVcpu : IVcpu
{
    private const uint DefaultMxcsr = 0x1F80;

    private readonly TableMemory _tables;
    private GCHandle _handle;

    /// <param name="tscOffset">What the guest's time-stamp counter is ahead of the host's, modulo 2^64: the same for all processors of a machine.</param>
    internal SoftwareVcpu(int index, GuestMemory memory, CpuModel model, IVcpuBus bus, SharedCode code, Rendezvous rendezvous, ulong tscOffset)
    {
        Index = index;
        Memory = memory;
        Model = model;
        Bus = _plainBus = bus;
        _tables = new TableMemory(TableMemory.SizeOf((nuint)sizeof(NativeState)) + TableMemory.SizeOf(SecondLevelTlb.Size));
        S = (NativeState*)_tables.Take((nuint)sizeof(NativeState));
        S->Xsave = (byte*)NativeMemory.AlignedAlloc(CpuModel.MaxXsaveSize, 64);
        NativeMemory.Clear(S->Xsave, CpuModel.MaxXsaveSize);
        S->XsaveMask = model.XsaveMask;
        S->HostMxcsr = DefaultMxcsr;
        InterruptReturn.Forget(S);
        *(uint*)(S->Xsave + MxcsrOffset) = DefaultMxcsr;
        S->ExtendedInMemory = 1;
        _handle = GCHandle.Alloc(this);
        S->Handle = GCHandle.ToIntPtr(_handle);

        S->TscOffset = tscOffset;
        FaultHandler.Install();
        _code = code;
        _findsByPage = code.Options.Has(Optimizations.JumpsByPage);
        _listsFilled = code.Options.Has(Optimizations.FlushLists);
        _rendezvous = rendezvous;
        _chaos = code.Options.ChaosSeed is { } seed ? new Chaos(seed, index) : null;
        S->ExitThunk = code.Thunks.Exit;
        S->GranuleBias = code.GranuleBias;
        S->CodeStart = code.Start;
        _tlb = new SecondLevelTlb(_tables);
        S->SecondLevel = _tlb.Native;
        CodeWatch = code;
        for (AddressSpace space = AddressSpace.User; space <= AddressSpace.SupervisorAc; space++)
        {
            // What stands there at first is nothing.
            FilledJumpsOf(space)->Count = NativeFilled.Capacity;
        }

        S->UserSitesFilled.Count = NativeFilled.Capacity;

        FlushTlb(keepGlobal: false);
        rendezvous.Add(this);
    }

    public void Dispose()
    {
        _rendezvous.Remove(this);
        _handle.Free();
        NativeMemory.AlignedFree(S->Xsave);
        _tables.Dispose();
    }

    public int Index { get; }

    public VcpuStatistics Statistics { get; } = new();

    /// <summary>The native state block; valid while C# runs.</summary>
    public NativeState* S { get; }

    public GuestMemory Memory { get; }

    public CpuModel Model { get; }

    public IVcpuBus Bus { get; private set; }

    internal bool Has(Optimizations optimization) => _code.Options.Has(optimization);

    /// <summary>Where execution goes on after the emulated instruction; the run loop sets it to the following instruction before it calls the family.</summary>
    public ulong NextRip { get; set; }

    /// <summary>STI or MOV SS was just executed: interrupts (MOV SS: also debug traps) wait for one instruction.</summary>
    public bool InterruptShadow { get; set; }

    public ulong Rflags
    {
        get => (S->ArithmeticFlags & RflagsBits.Arithmetic) | S->SystemFlags;
        set
        {
            S->ArithmeticFlags = value & RflagsBits.Arithmetic;
            S->SystemFlags = (value & ~RflagsBits.Arithmetic & RflagsBits.Defined) | RflagsBits.Fixed;
        }
    }

    /// <summary>Segment register by encoding: ES, CS, SS, DS, FS, GS = 0..5.</summary>
    public NativeSegment* Segment(int index) => &S->Es + index;

    public bool ProtectedMode => (S->Cr0 & Cr0Bits.Pe) != 0;

    public bool Virtual8086 => (S->SystemFlags & RflagsBits.Vm) != 0;

    /// <summary>EFER.LMA.</summary>
    public bool LongModeActive => (S->Efer & EferBits.Lma) != 0;

    /// <summary>In a 64-bit code segment.</summary>
    public bool Code64 => LongModeActive && (S->Cs.Attributes & SegmentRegister.Long) != 0;

    /// <summary>Current privilege level: the DPL of SS; 0 in real mode, 3 in virtual-8086 mode.</summary>
    public int Cpl => (int)(S->Ss.Attributes >> SegmentRegister.DplShift) & 3;

    /// <summary>Default operand and address size of the code segment: 16, 32 or 64.</summary>
    public int CodeBits => Code64 ? 64 : (S->Cs.Attributes & SegmentRegister.Big) != 0 ? 32 : 16;

    public ulong ReadGpr(int index, int size) => size switch
    {
        1 => (byte)S->Gpr[index],
        2 => (ushort)S->Gpr[index],
        4 => (uint)S->Gpr[index],
        _ => S->Gpr[index],
    };

    /// <summary>Writes a general register with the architecture's merge rules: 8 and 16 bits merge, 32 zero-extend.</summary>
    public void WriteGpr(int index, int size, ulong value)
    {
        ulong old = S->Gpr[index];
        S->Gpr[index] = size switch
        {
            1 => (old & ~0xFFul) | (byte)value,
            2 => (old & ~0xFFFFul) | (ushort)value,
            4 => (uint)value,
            _ => value,
        };
    }

    /// <summary>Reads a general register operand as Iced names it, AH-BH included.</summary>
    public ulong ReadRegister(Register register)
    {
        if (register is >= Register.AH and <= Register.BH)
        {
            return (byte)(S->Gpr[register - Register.AH] >> 8);
        }

        return ReadGpr(register.GetFullRegister() - Register.RAX, register.GetSize());
    }

    public void WriteRegister(Register register, ulong value)
    {
        if (register is >= Register.AH and <= Register.BH)
        {
            int index = register - Register.AH;
            S->Gpr[index] = (S->Gpr[index] & ~0xFF00ul) | ((value & 0xFF) << 8);
            return;
        }

        WriteGpr(register.GetFullRegister() - Register.RAX, register.GetSize(), value);
    }
}
