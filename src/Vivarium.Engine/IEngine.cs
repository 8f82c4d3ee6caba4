namespace Vivarium.Engine;

/// <summary>What executes guest instructions. One per machine.</summary>
public interface IEngine : IDisposable
{
    /// <summary>"software" or "kvm".</summary>
    string Name { get; }

    /// <param name="index">From 0.</param>
    /// <param name="bus">The rest of the machine.</param>
    IVcpu CreateVcpu(int index, IVcpuBus bus);

    /// <summary>
    /// Address line 20 passes (it does at first); else the processors see every other megabyte twice, as on the IBM PC AT. From
    /// any thread: a vCPU that sets it by an instruction of its own sees it from the next one on, others soon.
    /// </summary>
    bool A20 { get; set; }

    /// <summary>The memory for translations. From any thread, approximately.</summary>
    CodeCacheUse CodeCache { get; }

    /// <summary>Tells somebody of translations from now on; null ends it. From any thread.</summary>
    void Observe(ITranslationObserver? observer);
}
