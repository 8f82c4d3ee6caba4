using Vivarium.Engine;
using Vivarium.Engine.Software;

namespace Vivarium;

/// <summary>What this host can run.</summary>
public static class HostReport
{
    private static readonly (string Name, CpuFeature Feature)[] Notable =
    [
        ("sse4.2", CpuFeature.Sse42), ("avx", CpuFeature.Avx), ("avx2", CpuFeature.Avx2), ("fma", CpuFeature.Fma),
        ("bmi1", CpuFeature.Bmi1), ("bmi2", CpuFeature.Bmi2), ("aes", CpuFeature.Aes), ("sha", CpuFeature.Sha),
        ("avx512f", CpuFeature.Avx512F),
    ];

    /// <summary>The CPU models that <see cref="MachineSpec.Cpu"/> takes, the default first.</summary>
    public static IReadOnlyList<string> CpuModels => CpuModel.Names;

    /// <summary>The instruction-set extensions of the host's processor that matter most to guests.</summary>
    public static IReadOnlyList<string> CpuFeatures { get; } = [.. Notable.Where(f => CpuModel.HostHas(f.Feature)).Select(f => f.Name)];

    /// <summary>What the host's processor lacks for a CPU model; empty if it can provide it.</summary>
    public static IReadOnlyList<string> MissingFor(string cpuModel)
        => [.. CpuModel.Missing(cpuModel).Select(feature => feature.ToString().ToLowerInvariant())];

    /// <summary>Frequency of the time-stamp counter, host's and guests', in Hz.</summary>
    public static ulong TscFrequency => CpuModel.HostTscFrequency;

    /// <summary>Why the software engine cannot run here, in one sentence; null if it can.</summary>
    public static string? SoftwareEngineObstacle() => SoftwareEngine.Obstacle();
}
