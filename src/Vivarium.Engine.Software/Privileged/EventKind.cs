namespace Vivarium.Engine.Software.Privileged;

/// <summary>Where an event comes from (SDM vol. 3A, 6.3-6.5): it decides the return address, the gate's DPL check and the EXT bit.</summary>
internal enum EventKind : byte
{
    /// <summary>An exception that restarts its instruction.</summary>
    Fault,

    /// <summary>An exception reported after its instruction.</summary>
    Trap,

    /// <summary>INT n.</summary>
    SoftwareInterrupt,

    /// <summary>INT3.</summary>
    Breakpoint,

    /// <summary>INTO.</summary>
    Overflow,

    /// <summary>INT1: a software instruction that counts as hardware.</summary>
    PrivilegedSoftwareException,

    ExternalInterrupt,

    Nmi,
}
