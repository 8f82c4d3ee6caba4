using Vivarium.Board;
using Vivarium.Debugging;
using Vivarium.Devices;
using Vivarium.Engine;
using Vivarium.Host;

namespace Vivarium.Cpu;

/// <summary>
/// Runs one processor until its machine's power cycle ends. The thread that runs the guest also runs the timers: its
/// local APIC's, and on the first processor the board's. While the guest is halted it sleeps until the next deadline or
/// event; while the guest computes, a timer kicks it out.
/// </summary>
internal sealed class VcpuThread : ILocalApicEvents, IDisposable
{
    private const nuint TimerSlackNanoseconds = 1000;

    private readonly IVcpu _vcpu;
    private readonly LocalApic _apic;
    private readonly MachineClock _clock;
    private readonly DeadlineTimers _timers;
    private readonly CycleStop _stop;
    private readonly uint _signature;
    private readonly ParavirtualCpu? _paravirtual;
    private readonly CycleDebugger? _debugger;
    private readonly WakeEvent _wake = new();

    /// <summary>The board's deadlines, on the first processor.</summary>
    private readonly DeadlineQueue? _board;

    /// <summary>Null on the first processor, which waits for nobody.</summary>
    private readonly StartupLatch? _startup;

    private Thread? _runner;

    /// <summary>The thread sleeps, or is about to: wakers must set the event.</summary>
    private volatile bool _sleeping;

    /// <summary>The guest-time deadline that the kick timer is set to.</summary>
    private long _armedFor = MachineClock.Never;

    /// <param name="vcpu">The processor; number 0 is the bootstrap processor.</param>
    /// <param name="apic">Its local APIC.</param>
    /// <param name="clock">The machine's time.</param>
    /// <param name="timers">The timer of the processor's number is its own; it calls <see cref="Kick"/>.</param>
    /// <param name="stop">When to end.</param>
    /// <param name="signature">CPUID leaf 1, EAX, which INIT leaves in a register.</param>
    /// <param name="paravirtual">The processor's paravirtual interface, which ends with the thread; null where the guest sees no hypervisor.</param>
    /// <param name="debugger">Who may stop the thread; null for nobody.</param>
    public VcpuThread(IVcpu vcpu, LocalApic apic, MachineClock clock, DeadlineTimers timers, CycleStop stop, uint signature, ParavirtualCpu? paravirtual, CycleDebugger? debugger = null)
    {
        _vcpu = vcpu;
        _apic = apic;
        _clock = clock;
        _timers = timers;
        _stop = stop;
        _signature = signature;
        _paravirtual = paravirtual;
        _debugger = debugger;
        paravirtual?.UnhaltRequested = Unhalt;
        apic.Events = this;
        apic.TscReader = () => vcpu.Tsc;
        apic.Deadlines.DeadlineMoved = OnDeadlineMoved;
        if (vcpu.Index == 0)
        {
            _board = clock.Deadlines;
            _board.DeadlineMoved = OnDeadlineMoved;
        }
        else
        {
            _startup = new StartupLatch();
        }
    }

    public int Index => _vcpu.Index;

    public VcpuStatistics Statistics => _vcpu.Statistics;

    /// <summary>It is an application processor that has had no start-up message.</summary>
    public bool WaitsForStartup => _startup is { Waits: true };

    private long NextDeadline
    {
        get
        {
            long own = _apic.Deadlines.NextDeadline;
            return _board is null ? own : Math.Min(own, _board.NextDeadline);
        }
    }

    /// <summary>Something ends a wait: the cycle's end, an INIT or start-up message, or what ends HLT.</summary>
    private bool HasNews => _stop.Reason is not null
        || (_startup is { } startup && startup.HasNews)
        || (_debugger is not null && _debugger.IsWanted(_vcpu.Index))
        || (!WaitsForStartup && _vcpu.HasPendingEvent);

    /// <summary>Runs the guest on the calling thread until the cycle ends.</summary>
    public void Run()
    {
        _ = LinuxTime.Prctl(LinuxTime.SetTimerSlack, TimerSlackNanoseconds);
        _runner = Thread.CurrentThread;
        while (_stop.Reason is null)
        {
            if (_debugger is not null && !_debugger.MayEnter(_vcpu.Index))
            {
                // What is armed is for a time that may not come so soon.
                _timers.Disarm(_vcpu.Index);
                _armedFor = MachineClock.Never;
                _debugger.Wait(_vcpu.Index);
                continue;
            }

            if (_startup is not null && !TakeMessages(_startup))
            {
                Sleep();
                continue;
            }

            bool steps = _debugger is not null && _debugger.BeginStep();
            RunTimers();
            ArmTimer();
            _paravirtual?.EnterGuest();
            _vcpu.Run(out VmExit exit);
            Handle(exit);
            if (steps)
            {
                _debugger!.EndStep();
            }
        }

        _timers.Disarm(_vcpu.Index);
    }

    /// <summary>Gets the attention of the running thread, whatever it does. From any thread.</summary>
    public void Kick()
    {
        _vcpu.Kick();
        WakeIfSleeping();
    }

    /// <summary>Ends a HLT without an interrupt. From any thread.</summary>
    public void Unhalt()
    {
        _vcpu.RequestUnhalt();
        WakeIfSleeping();
    }

    public void InterruptRequested()
    {
        _vcpu.RequestInterrupt();
        WakeIfSleeping();
    }

    public void NmiRequested()
    {
        // A processor that waits for a start-up message has no handler yet.
        if (!WaitsForStartup)
        {
            _vcpu.RequestNmi();
            WakeIfSleeping();
        }
    }

    /// <summary>INIT to the bootstrap processor would start the firmware again: for us, a reset.</summary>
    public void InitRequested()
    {
        if (_startup is null)
        {
            _stop.Stop(new CycleEnd(CycleEndKind.Reset));
        }
        else
        {
            _startup.Init();
            Kick();
        }
    }

    public void StartupRequested(byte vector)
    {
        _startup?.Startup(vector);
        WakeIfSleeping();
    }

    public void Dispose()
    {
        _apic.Events = null;
        _apic.Deadlines.DeadlineMoved = null;
        _ = _board?.DeadlineMoved = null;
        _paravirtual?.Dispose();
        _wake.Dispose();
    }

    /// <summary>Does what INIT and start-up messages ask for. False if the processor waits for a start-up message.</summary>
    private bool TakeMessages(StartupLatch startup)
    {
        if (startup.TakeInit())
        {
            var state = new CpuState();
            _vcpu.GetState(state);
            ResetState.Initialize(state, _signature);
            _vcpu.SetState(state);
            _apic.Initialize();
            _paravirtual?.Reset();
        }

        if (startup.TakeStartup(out byte vector))
        {
            var state = new CpuState();
            _vcpu.GetState(state);
            ResetState.Start(state, vector);
            _vcpu.SetState(state);
        }

        return !startup.Waits;
    }

    private void Handle(in VmExit exit)
    {
        switch (exit.Reason)
        {
            case ExitReason.Halt:
                Sleep();
                break;
            case ExitReason.Debug:
                _debugger!.Stopped(_vcpu.Index, exit);
                break;
            case ExitReason.Shutdown when _debugger is not null && _debugger.Crashed(_vcpu.Index):
                break;
            case ExitReason.Shutdown:
                _stop.Stop(Crash("triple fault"));
                break;
            case ExitReason.InternalError:
                _stop.Stop(Crash(exit.Detail ?? "the engine met something that it cannot execute"));
                break;
            default:
                // A kick, or nothing: the loop looks for what there is to do.
                break;
        }
    }

    /// <summary>Waits for an event, halted or for a start-up message, and runs the timers meanwhile.</summary>
    private void Sleep()
    {
        _timers.Disarm(_vcpu.Index);
        _armedFor = MachineClock.Never;
        _paravirtual?.BeginSleep();
        while (!HasNews)
        {
            RunTimers();
            _sleeping = true;
            // Wakers write their news, then look at the flag; this side does the reverse.
            Interlocked.MemoryBarrier();
            long deadline = NextDeadline;
            if (!HasNews)
            {
                _wake.Wait(deadline == MachineClock.Never ? -1 : Math.Max(deadline - _clock.Nanoseconds, 0));
            }

            _sleeping = false;
        }

        if (_paravirtual?.EndSleep() == true)
        {
            _vcpu.RequestTlbFlush();
        }
    }

    private void RunTimers()
    {
        _apic.Deadlines.RunDue();
        _board?.RunDue();
    }

    private void ArmTimer()
    {
        long deadline = NextDeadline;
        if (deadline == _armedFor)
        {
            return;
        }

        _armedFor = deadline;
        if (deadline == MachineClock.Never)
        {
            _timers.Disarm(_vcpu.Index);
        }
        else
        {
            _timers.Arm(_vcpu.Index, deadline - _clock.Nanoseconds);
        }
    }

    private void OnDeadlineMoved()
    {
        if (Thread.CurrentThread == _runner)
        {
            if (!_sleeping)
            {
                ArmTimer();
            }
        }
        else
        {
            Kick();
        }
    }

    private void WakeIfSleeping()
    {
        Interlocked.MemoryBarrier();
        if (_sleeping && Thread.CurrentThread != _runner)
        {
            _wake.Set();
        }
    }

    private CycleEnd Crash(string what)
    {
        var state = new CpuState();
        _vcpu.GetState(state);
        return new CycleEnd(CycleEndKind.Crash, $"{what} on CPU {_vcpu.Index}", Registers: RegisterDump.Format(state));
    }
}
