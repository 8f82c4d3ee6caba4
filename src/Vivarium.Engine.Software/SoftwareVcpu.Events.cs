namespace Vivarium.Engine.Software;

/// <summary>A fault that an emulated instruction reports without the cost of a .NET exception.</summary>
internal struct PendingFault
{
    public bool Raised;
    public Vector Vector;
    public uint? ErrorCode;
}

// What an emulated instruction asks of the run loop beside going on at NextRip.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>
    /// Set by <see cref="Raise"/>; the run loop delivers it at the instruction's RIP, as it does a <see cref="GuestException"/>,
    /// and clears it. For faults that guests cause all the time: page faults of string instructions, unknown MSRs.
    /// </summary>
    public PendingFault RaisedFault;

    /// <summary>An NMI is being handled: further ones wait for IRET (SDM vol. 3A, 6.7.1).</summary>
    public bool NmiBlocked
    {
        get => S->NmiBlocked != 0;
        set => S->NmiBlocked = value ? 1ul : 0;
    }

    /// <summary>A triple fault has happened: the run loop reports the shutdown.</summary>
    public bool ShutdownPending { get; set; }

    /// <summary>HLT: wait for an event after this instruction.</summary>
    public bool Halted { get; set; }

    /// <summary>The guest's time-stamp counter.</summary>
    public ulong GuestTsc => Vivarium.Engine.Host.HostInstructions.ReadTsc() + S->TscOffset;

    public void Raise(Vector vector, uint? errorCode = null)
        => RaisedFault = new PendingFault { Raised = true, Vector = vector, ErrorCode = errorCode };

    /// <summary>#PF at a linear address: sets CR2 too.</summary>
    public void RaisePageFault(ulong linear, uint errorCode)
    {
        S->Cr2 = linear;
        Raise(Vector.PageFault, errorCode);
    }

    /// <summary>#GP(0) unless the current privilege level is 0 (so also in virtual-8086 mode).</summary>
    public void RequireRing0()
    {
        if (ProtectedMode && Cpl != 0)
        {
            throw GuestException.Protection();
        }
    }

    /// <summary>CR4.UMIP: #GP(0) for SGDT, SIDT, SLDT, SMSW and STR outside ring 0 (SDM vol. 3A, 2.5).</summary>
    public void RequireRing0UnderUmip()
    {
        if ((S->Cr4 & Cr4Bits.Umip) != 0)
        {
            RequireRing0();
        }
    }
}
