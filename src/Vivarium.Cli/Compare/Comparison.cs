using System.Text.Json.Serialization;

namespace Vivarium.Cli.Compare;

/// <summary>What <c>viv compare --json</c> prints.</summary>
internal sealed record Comparison
{
    public required string Guest { get; init; }

    /// <summary>Guest RAM in bytes.</summary>
    public required ulong Memory { get; init; }

    public required int Cpus { get; init; }

    public required string Cpu { get; init; }

    public required MachineFigures Para { get; init; }

    public required MachineFigures Full { get; init; }
}

/// <summary>One machine, from power-on to the end of the work.</summary>
internal sealed record MachineFigures
{
    /// <summary>From power-on to the prompt.</summary>
    public required PhaseFigures Boot { get; init; }

    /// <summary>The work, from the first word typed to its last line.</summary>
    public required PhaseFigures Work { get; init; }

    public required WorkloadFigures Figures { get; init; }
}

/// <summary>What the guest has measured; null where it could not.</summary>
internal sealed record WorkloadFigures
{
    /// <summary>What Linux keeps time by.</summary>
    public string? ClockSource { get; init; }

    public double? ClockReadsPerSecond { get; init; }

    public double? ContextSwitchesPerSecond { get; init; }

    public double? DiskWriteBytesPerSecond { get; init; }

    public double? DiskReadBytesPerSecond { get; init; }

    public double? DiskSmallReadsPerSecond { get; init; }
}

/// <summary>A stretch of a machine's life, as the monitor saw it; all processors together.</summary>
internal sealed record PhaseFigures
{
    public required double Seconds { get; init; }

    public required double GuestSeconds { get; init; }

    public required double MonitorSeconds { get; init; }

    public required double DeviceSeconds { get; init; }

    public required double IdleSeconds { get; init; }

    public required long Interrupts { get; init; }

    /// <summary>By the names of <see cref="Engine.ExitCause"/>, in camel case.</summary>
    public required IReadOnlyDictionary<string, long> Exits { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(Comparison))]
internal sealed partial class ComparisonJson : JsonSerializerContext;
