namespace Vivarium.Devices;

/// <summary>The state of a local APIC.</summary>
public sealed record LocalApicState
{
    public const int CurrentVersion = 1;

    public int Version { get; init; } = CurrentVersion;

    /// <summary>IA32_APIC_BASE.</summary>
    public ulong ApicBase { get; init; }

    public uint Id { get; init; }
    public byte TaskPriority { get; init; }
    public uint LogicalDestination { get; init; }
    public uint DestinationFormat { get; init; }
    public uint SpuriousVector { get; init; }
    public uint[] InService { get; init; } = [];
    public uint[] TriggerMode { get; init; } = [];
    public uint[] Requests { get; init; } = [];
    public uint ErrorStatus { get; init; }
    public uint PendingErrors { get; init; }
    public ulong InterruptCommand { get; init; }

    /// <summary>CMCI, timer, thermal, performance, LINT0, LINT1, error.</summary>
    public uint[] LocalVectorTable { get; init; } = [];

    public uint InitialCount { get; init; }
    public uint DivideConfiguration { get; init; }

    /// <summary>Guest time at which the count began.</summary>
    public long TimerStart { get; init; }

    /// <summary>Guest time at which the timer fires next; <see cref="MachineClock.Never"/> if it does not run.</summary>
    public long TimerDeadline { get; init; }

    /// <summary>IA32_TSC_DEADLINE.</summary>
    public ulong TscDeadline { get; init; }

    public bool ExternalRequested { get; init; }

    /// <summary>The guest may end the interrupt in service by its byte in memory.</summary>
    public bool EoiOffered { get; init; }
}
