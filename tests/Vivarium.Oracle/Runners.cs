using Vivarium.Engine;
using Vivarium.Engine.Software;
using Vivarium.Oracle.Guest;

namespace Vivarium.Oracle;

/// <summary>The engines that cases run on.</summary>
internal static class Runners
{
    /// <summary>The software engine with a CPU model; by default the one that has all the host's instructions.</summary>
    public static EngineRunner Software(string? model)
        => new(memory => new SoftwareEngine(memory, CpuModel.Create(model ?? "host")));
}
