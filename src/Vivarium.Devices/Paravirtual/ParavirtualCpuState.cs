namespace Vivarium.Devices;

/// <summary>The registers of a vCPU's paravirtual interface; what they name is in guest memory.</summary>
public sealed record ParavirtualCpuState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    /// <summary>MSR_KVM_SYSTEM_TIME.</summary>
    public ulong SystemTime { get; init; }

    /// <summary>MSR_KVM_STEAL_TIME.</summary>
    public ulong StealTime { get; init; }

    /// <summary>MSR_KVM_PV_EOI_EN.</summary>
    public ulong EoiEnable { get; init; }

    /// <summary>MSR_KVM_POLL_CONTROL.</summary>
    public ulong PollControl { get; init; } = 1;

    /// <summary>MSR_KVM_MIGRATION_CONTROL.</summary>
    public ulong MigrationControl { get; init; } = 1;
}
