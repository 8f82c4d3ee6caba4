using Vivarium.Engine;
using Vivarium.Engine.Software;
using Vivarium.Oracle.Guest;

namespace Vivarium.Oracle;

/// <summary>The engines that cases run on.</summary>
internal static class Runners
{
    /// <summary>The software engine with a CPU model; by default the one that has all the host's instructions.</summary>
    /// <param name="options">As for <c>viv run --engine-opt</c>; by default what VIVARIUM_ENGINE_OPT says.</param>
    public static EngineRunner Software(string? model, string? options = null)
        => new(memory => new SoftwareEngine(memory, CpuModel.Create(model ?? "host"), EngineOptions.Parse(options ?? Environment.GetEnvironmentVariable("VIVARIUM_ENGINE_OPT") ?? "")));
}
