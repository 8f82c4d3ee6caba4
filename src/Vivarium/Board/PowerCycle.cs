using Vivarium.Cpu;
using Vivarium.Devices;
using Vivarium.Engine;
using Vivarium.Engine.Host;
using Vivarium.Firmware;
using Vivarium.Firmware.Boot;

namespace Vivarium.Board;

/// <summary>A board with its engine and processor, from power-on to power-off or reset.</summary>
internal sealed class PowerCycle : IDisposable
{
    private readonly Pc _pc;
    private readonly VcpuThread _thread;
    private readonly IEngine _engine;
    private readonly IVcpu _vcpu;
    private readonly ParavirtualCpu? _paravirtual;

    public PowerCycle(MachineSpec spec, PlatformLayout layout, BootPlan plan, CpuModel model, MachineParts parts, MachineConsole console, Action<byte> debugOutput)
    {
        VcpuThread? thread = null;
        _pc = new Pc(layout, parts, console, debugOutput, end => thread!.End(end));
        try
        {
            _thread = thread = new VcpuThread(_pc.Clock);
            _engine = EngineFactory.Create(spec.Engine, _pc.Memory, model);
            _vcpu = _engine.CreateVcpu(0, _pc.Bus);
            _pc.Clock.TscFrequency = model.TscFrequency;
            _pc.Clock.TscReader = () => _vcpu.Tsc;
            _pc.LocalApic.Events = _thread;
            if (model.Has(CpuFeature.Hypervisor))
            {
                var platform = new ParavirtualPlatform(_pc.Memory, _pc.Clock, _pc.Interrupts.Apics, HostTsc);
                _paravirtual = new ParavirtualCpu(platform, _pc.LocalApic, () => _vcpu.TscOffset) { UnhaltRequested = _thread.Unhalt };
                _pc.Bus.Paravirtual = _thread.Paravirtual = _paravirtual;
            }

            _vcpu.SetState(BootState.Create(plan.Place(_pc.Memory, layout)));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Runs on the calling thread until the cycle ends.</summary>
    public CycleEnd Run() => _thread.Run(_vcpu);

    /// <summary>Ends the cycle from any thread.</summary>
    public void End(CycleEnd end) => _thread.End(end);

    public void PressPowerButton() => _pc.PowerManagement.PressPowerButton();

    public MachineStatistics Statistics(int resets) => new(_engine.Name, resets, _vcpu.Statistics, _pc.Ports, _pc.Mmio);

    public void Dispose()
    {
        _thread?.Dispose();
        _paravirtual?.Dispose();
        _vcpu?.Dispose();
        _engine?.Dispose();
        _pc.Dispose();
    }

    private static unsafe ulong HostTsc() => HostInstructions.ReadTsc();
}
