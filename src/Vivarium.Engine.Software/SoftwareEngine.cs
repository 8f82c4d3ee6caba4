using Vivarium.Engine.Software.Host;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

/// <summary>
/// Executes guests by translating their code to code of the same instruction set: what is harmless runs as it is, what
/// is privileged is emulated. Needs no hardware virtualization, only an x86-64 Linux host.
/// </summary>
public sealed class SoftwareEngine(GuestMemory memory, CpuModel model) : IEngine
{
    /// <summary>Why this host cannot run the engine, in one sentence; null if it can.</summary>
    public static string? Obstacle()
    {
        try
        {
            using var region = new CodeRegion();
            return null;
        }
        catch (InvalidOperationException refused)
        {
            return refused.Message;
        }
    }

    public string Name => "software";

    public IVcpu CreateVcpu(int index, IVcpuBus bus, bool measureTimes = false) => new SoftwareVcpu(index, memory, model, bus, measureTimes ? new VcpuTimes() : null);

    public void Dispose()
    {
    }
}
