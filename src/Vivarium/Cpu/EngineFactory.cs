using Vivarium.Engine;
using Vivarium.Engine.Software;
using Vivarium.Memory;

namespace Vivarium.Cpu;

/// <summary>The only place that knows which engines there are.</summary>
internal static class EngineFactory
{
    /// <param name="warn">Told in one sentence of what goes wrong and does no harm.</param>
    public static IEngine Create(EngineKind kind, EngineOptions options, GuestMemory memory, CpuModel model, Action<string> warn) => kind switch
    {
        // Auto is the software engine until there is a second one to choose from.
        EngineKind.Auto or EngineKind.Software => new SoftwareEngine(memory, model, options, warn),
        _ => throw new InvalidInputException($"there is no engine {kind}"),
    };

    public static CpuModel CreateModel(string name, int processors, bool showHypervisor)
    {
        try
        {
            return CpuModel.Create(name, processors, showHypervisor);
        }
        catch (NotSupportedException e)
        {
            throw new InvalidInputException(e.Message.TrimEnd('.'), e);
        }
    }
}
