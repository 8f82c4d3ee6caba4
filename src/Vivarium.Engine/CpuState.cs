namespace Vivarium.Engine;

/// <summary>
/// The architectural state of one processor between two instructions: the only truth. Engines may keep what caches they
/// like, but everything a guest can observe is here, so that a machine can be saved, moved and run on by another engine.
/// </summary>
public sealed class CpuState
{
    /// <summary>RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8-R15: the encoding order.</summary>
    public ulong[] Gpr { get; } = new ulong[16];

    public ulong Rip { get; set; }
    public ulong Rflags { get; set; } = 2;

    /// <summary>ES, CS, SS, DS, FS, GS: the encoding order.</summary>
    public SegmentRegister[] Segments { get; } = new SegmentRegister[6];

    public SegmentRegister Ldtr;
    public SegmentRegister Tr;
    public ulong GdtrBase { get; set; }
    public ushort GdtrLimit { get; set; }
    public ulong IdtrBase { get; set; }
    public ushort IdtrLimit { get; set; }
    public ulong Cr0 { get; set; }
    public ulong Cr2 { get; set; }
    public ulong Cr3 { get; set; }
    public ulong Cr4 { get; set; }

    /// <summary>CR8 as it can be read. The local APIC holds it: <see cref="IVcpu.SetState"/> leaves it alone.</summary>
    public ulong Cr8 { get; set; }

    public ulong Efer { get; set; }
    public ulong Xcr0 { get; set; } = 1;

    /// <summary>DR0-DR3, two unused places, DR6, DR7.</summary>
    public ulong[] Dr { get; } = new ulong[8];

    /// <summary>The XSAVE area in standard (non-compacted) format (SDM vol. 1, 13.4), as large as the CPU model's XCR0 needs.</summary>
    public byte[] Xsave { get; set; } = new byte[CpuModel.MaxXsaveSize];

    /// <summary>Model-specific registers not named elsewhere, by index. The TSC is saved as its value at the time of saving.</summary>
    public SortedDictionary<uint, ulong> Msrs { get; } = [];

    /// <summary>HLT was executed and nothing has ended it.</summary>
    public bool Halted { get; set; }

    /// <summary>STI or MOV SS shadow: the next instruction is not interruptible.</summary>
    public bool InterruptShadow { get; set; }

    /// <summary>An NMI is being handled: further ones wait for IRET.</summary>
    public bool NmiBlocked { get; set; }

    public bool NmiPending { get; set; }
}
