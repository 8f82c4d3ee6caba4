namespace Vivarium.Engine;

/// <summary>The parts of the KVM paravirtual interface: EAX of CPUID leaf 40000001H (the kernel's documentation, "KVM CPUID bits").</summary>
[Flags]
public enum KvmFeatures : uint
{
    /// <summary>kvmclock by the registers 11H and 12H.</summary>
    ClockSource = 1 << 0,

    /// <summary>No delay is needed between port accesses.</summary>
    NopIoDelay = 1 << 1,

    /// <summary>kvmclock by the registers 4B564D00H and 4B564D01H.</summary>
    ClockSource2 = 1 << 3,

    StealTime = 1 << 5,
    PvEoi = 1 << 6,

    /// <summary>A halted processor is woken by a hypercall, so that spinlocks may sleep.</summary>
    PvUnhalt = 1 << 7,

    PvTlbFlush = 1 << 9,
    PvSendIpi = 1 << 11,
    PollControl = 1 << 12,
    PvSchedYield = 1 << 13,
    MigrationControl = 1 << 17,

    /// <summary>kvmclock never jumps between processors.</summary>
    ClockSourceStable = 1 << 24,
}
