using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests;

/// <summary>All tests can be run with other engine options: set VIVARIUM_ENGINE_OPT as for <c>viv run --engine-opt</c>.</summary>
internal static class TestOptions
{
    public static EngineOptions Engine { get; } = EngineOptions.Parse(Environment.GetEnvironmentVariable("VIVARIUM_ENGINE_OPT") ?? "");
}
