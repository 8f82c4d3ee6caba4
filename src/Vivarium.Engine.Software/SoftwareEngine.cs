using Vivarium.Engine.Host;
using Vivarium.Engine.Software.Host;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

/// <summary>
/// Executes guests by translating their code to code of the same instruction set: what is harmless runs as it is, what
/// is privileged is emulated. Needs no hardware virtualization, only an x86-64 Linux host.
/// </summary>
public sealed unsafe class SoftwareEngine : IEngine
{
    private readonly GuestMemory _memory;
    private readonly CpuModel _model;
    private readonly Rendezvous _rendezvous = new();
    private readonly SharedCode _code;

    /// <summary>The guest's time-stamp counters count from here.</summary>
    private readonly ulong _tscOffset = 0 - HostInstructions.ReadTsc();

    /// <param name="options">Null: <see cref="EngineOptions.Default"/>.</param>
    /// <param name="warn">Told in one sentence of what does not work and is not needed, such as a damaged file of translations.</param>
    public SoftwareEngine(GuestMemory memory, CpuModel model, EngineOptions? options = null, Action<string>? warn = null)
    {
        _memory = memory;
        _model = model;
        _code = new SharedCode(memory, model, _rendezvous, options ?? EngineOptions.Default, warn ?? (_ => { }));
    }

    /// <summary>Why this host cannot run the engine, in one sentence; null if it can.</summary>
    public static string? Obstacle()
    {
        try
        {
            using var region = new CodeRegion(hugePages: false);
            return null;
        }
        catch (InvalidOperationException refused)
        {
            return refused.Message;
        }
    }

    public string Name => "software";

    public bool A20
    {
        get => _code.AddressMask == AddressMask.All;
        set => _code.SetAddressMask(value ? AddressMask.All : AddressMask.WithoutLine20);
    }

    public void Observe(ITranslationObserver? observer) => _code.Observe(observer);

    public CodeCacheUse CodeCache => _code.Use;

    public IVcpu CreateVcpu(int index, IVcpuBus bus) => Create(index, bus);

    public void Dispose() => _code.Dispose();

    internal SoftwareVcpu Create(int index, IVcpuBus bus) => new(index, _memory, _model, bus, _code, _rendezvous, _tscOffset);
}
