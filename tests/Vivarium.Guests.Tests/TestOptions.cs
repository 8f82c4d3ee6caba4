using Vivarium.Engine.Software;

namespace Vivarium.Guests.Tests;

/// <summary>Guests can be run with other engine options, as the engine's own tests: set VIVARIUM_ENGINE_OPT as for <c>viv run --engine-opt</c>.</summary>
internal static class TestOptions
{
    private static readonly string? s_options = Environment.GetEnvironmentVariable("VIVARIUM_ENGINE_OPT");

    public static MachineSpec With(MachineSpec spec) => s_options is null ? spec : spec with { EngineOptions = EngineOptions.Parse(s_options) };

    /// <summary>The same for a command.</summary>
    public static string[] With(string[] command)
        => s_options is null || command is not ["run", ..] || command.Contains("--engine-opt") ? command : [.. command, "--engine-opt", s_options];
}
