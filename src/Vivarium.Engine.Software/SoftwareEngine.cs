using Vivarium.Memory;

namespace Vivarium.Engine.Software;

/// <summary>
/// Executes guests by translating their code to code of the same instruction set: what is harmless runs as it is, what
/// is privileged is emulated. Needs no hardware virtualization, only an x86-64 Linux host.
/// </summary>
public sealed class SoftwareEngine(GuestMemory memory, CpuModel model) : IEngine
{
    public string Name => "software";

    public IVcpu CreateVcpu(int index, IVcpuBus bus) => new SoftwareVcpu(index, memory, model, bus);

    public void Dispose()
    {
    }
}
