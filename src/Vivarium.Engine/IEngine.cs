namespace Vivarium.Engine;

/// <summary>What executes guest instructions. One per machine.</summary>
public interface IEngine : IDisposable
{
    /// <summary>"software" or "kvm".</summary>
    string Name { get; }

    IVcpu CreateVcpu(int index, IVcpuBus bus);
}
