using Vivarium.Cpu;
using Vivarium.Debugging;
using Vivarium.Devices;
using Vivarium.Engine;
using Vivarium.Engine.Host;
using Vivarium.Firmware;
using Vivarium.Firmware.Boot;
using Vivarium.Host;

namespace Vivarium.Board;

/// <summary>A board with its engine and processors, from power-on to power-off or reset.</summary>
internal sealed class PowerCycle : IDisposable
{
    private readonly CycleStop _stop = new();
    private readonly Pc _pc;
    private readonly IEngine _engine;
    private readonly List<IVcpu> _vcpus = [];
    private readonly List<VcpuThread> _threads = [];
    private readonly DeadlineTimers _timers;

    /// <param name="debuggerWaits">The cycle begins stopped, for a debugger to let it run. It counts only if the machine has a debugger's port.</param>
    public PowerCycle(MachineSpec spec, PlatformLayout layout, BootSource boot, CpuModel model, MachineParts parts, MachineConsole console, Action<byte> debugOutput, bool debuggerWaits)
    {
        _pc = new Pc(layout, parts, boot, console, debugOutput, _stop.Stop);
        try
        {
            _timers = new DeadlineTimers(layout.CpuCount, KickProcessor);
            _engine = EngineFactory.Create(spec.Engine, spec.EngineOptions, _pc.Memory, model, parts.Warn);
            _pc.A20.Changed = () => _engine.A20 = _pc.A20.IsOpen;
            _pc.Clock.TscFrequencyReader = () => model.TscFrequency;
            Debugger = spec.Gdb is null ? null : new CycleDebugger(_pc, model, _stop, debuggerWaits);
            var platform = model.Has(CpuFeature.Hypervisor) ? new ParavirtualPlatform(_pc.Memory, _pc.Clock, _pc.Interrupts.Apics, HostTsc) : null;
            uint signature = model.Cpuid(1, 0, default).Eax;
            for (int i = 0; i < layout.CpuCount; i++)
            {
                IVcpu vcpu = _engine.CreateVcpu(i, _pc.Buses[i]);
                _vcpus.Add(vcpu);
                ParavirtualCpu? paravirtual = platform is null ? null : new ParavirtualCpu(platform, _pc.LocalApics[i], () => vcpu.TscOffset);
                _pc.Buses[i].Paravirtual = paravirtual;
                _threads.Add(new VcpuThread(vcpu, _pc.LocalApics[i], _pc.Clock, _timers, _stop, signature, paravirtual, Debugger));
            }

            Debugger?.Bind(_vcpus, _threads);

            // Nothing is said of the time-stamp counters: the engine begins all of them in step.
            IVcpu first = _vcpus[0];
            first.SetState(boot.Firmware is not null ? ResetState.PowerUp(signature) : BootState.Create(boot.Kernel!.Place(_pc.Memory, layout), signature));
            foreach (IVcpu other in _vcpus.Skip(1))
            {
                other.SetState(ResetState.PowerUp(signature));
            }

            _pc.Clock.TscReader = () => first.Tsc;
            _stop.Stopped = KickProcessors;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Runs the first processor on the calling thread, and each other on its own, until the cycle ends.</summary>
    public CycleEnd Run()
    {
        if (Debugger is not { IsStopped: true })
        {
            _pc.Clock.Resume();
        }

        List<Thread> others = [];
        try
        {
            foreach (VcpuThread processor in _threads.Skip(1))
            {
                var thread = new Thread(() => RunGuarded(processor)) { IsBackground = true, Name = $"vcpu {others.Count + 1}" };
                thread.Start();
                others.Add(thread);
            }

            RunGuarded(_threads[0]);
        }
        finally
        {
            // Where a thread could not be started, those that were have to end too.
            _stop.Stop(new CycleEnd(CycleEndKind.Stopped));
            foreach (Thread thread in others)
            {
                thread.Join();
            }

            _pc.Clock.Pause();
        }

        Debugger?.End(_stop.Reason!.Kind);
        return _stop.Reason!;
    }

    /// <summary>The cycle as a debugger has it; null where none may come.</summary>
    public CycleDebugger? Debugger { get; }

    /// <summary>Ends the cycle from any thread.</summary>
    public void End(CycleEnd end) => _stop.Stop(end);

    public void PressPowerButton() => _pc.PowerManagement.PressPowerButton();

    public VirtioBalloon? Balloon => _pc.Balloon;

    public BalloonStatistics? DescribeBalloon() => _pc.Balloon is not { } balloon ? null : new BalloonStatistics
    {
        Memory = _pc.Memory.RamSize,
        Host = _pc.Memory.HostBytes,
        Target = balloon.Target,
        Actual = balloon.Actual,
        HasDriver = balloon.HasDriver,
        Inflated = balloon.Inflated,
        Reported = balloon.Reported,
        Hinted = balloon.Hinted,
        Guest = balloon.Statistics,
    };

    public IReadOnlyList<IVcpu> Vcpus => _vcpus;

    /// <summary>Tells somebody of the engine's translations.</summary>
    public void Observe(ITranslationObserver observer) => _engine.Observe(observer);

    /// <summary>Begins or ends to measure the processors; one thread at a time.</summary>
    public void Measure(bool on)
    {
        foreach (IVcpu vcpu in _vcpus)
        {
            vcpu.Measure(on);
        }
    }

    public MachineStatistics Statistics(int resets) => new(_engine, resets, [.. _vcpus.Select(vcpu => vcpu.Statistics)], _pc.Ports, _pc.Mmio);

    public void Dispose()
    {
        // First those that speak to processors, from threads of their own.
        _pc.Quiesce();
        _timers?.Dispose();
        foreach (VcpuThread thread in _threads)
        {
            thread.Dispose();
        }

        foreach (IVcpu vcpu in _vcpus)
        {
            vcpu.Dispose();
        }

        _engine?.Dispose();
        _pc.Dispose();
    }

    /// <summary>Whatever goes wrong in the monitor on one processor's thread ends the cycle on all of them.</summary>
    private void RunGuarded(VcpuThread processor)
    {
        try
        {
            processor.Run();
        }
        catch (Exception e)
        {
            _stop.Stop(new CycleEnd(CycleEndKind.Failed, e is VivariumException ? e.Message : $"the monitor failed: {e}"));
        }
        finally
        {
            Debugger?.Leave(processor.Index);
        }
    }

    private static unsafe ulong HostTsc() => HostInstructions.ReadTsc();

    private void KickProcessor(int index) => _threads[index].Kick();

    private void KickProcessors()
    {
        Debugger?.LetGo();
        foreach (VcpuThread thread in _threads)
        {
            thread.Kick();
        }
    }
}
