using Vivarium.Board;
using Vivarium.Devices;
using Vivarium.Engine;
using Vivarium.Host;

namespace Vivarium.Cpu;

/// <summary>
/// Runs one processor until its machine's power cycle ends. The thread that runs the guest also runs the timers: while
/// the guest is halted it sleeps until the next deadline or event; while the guest computes, a timer kicks it out.
/// </summary>
internal sealed class VcpuThread : ILocalApicEvents, IDisposable
{
    private const nuint TimerSlackNanoseconds = 1000;

    private readonly MachineClock _clock;
    private readonly WakeEvent _wake = new();
    private readonly DeadlineTimer _timer;
    private IVcpu? _vcpu;
    private Thread? _runner;
    private volatile CycleEnd? _end;

    /// <summary>The thread sleeps, or is about to: wakers must set the event.</summary>
    private volatile bool _sleeping;

    /// <summary>The guest-time deadline that the kick timer is set to.</summary>
    private long _armedFor = MachineClock.Never;

    public VcpuThread(MachineClock clock)
    {
        _clock = clock;
        _timer = new DeadlineTimer(() => _vcpu?.Kick());
        clock.DeadlineMoved = OnDeadlineMoved;
    }

    /// <summary>The processor's paravirtual interface; null where the guest sees no hypervisor.</summary>
    public ParavirtualCpu? Paravirtual { get; set; }

    /// <summary>Ends the power cycle. The first reason stands; callable from any thread, also from a device in the middle of an access.</summary>
    public void End(CycleEnd end)
    {
        if (Interlocked.CompareExchange(ref _end, end, null) is null)
        {
            Interrupt();
        }
    }

    /// <summary>Runs the guest on the calling thread until the cycle ends.</summary>
    public CycleEnd Run(IVcpu vcpu)
    {
        _ = LinuxTime.Prctl(LinuxTime.SetTimerSlack, TimerSlackNanoseconds);
        _runner = Thread.CurrentThread;
        _vcpu = vcpu;
        _clock.Resume();
        try
        {
            while (_end is null)
            {
                _clock.RunDue();
                ArmTimer();
                Paravirtual?.EnterGuest();
                vcpu.Run(out VmExit exit);
                Handle(vcpu, exit);
            }
        }
        finally
        {
            _clock.Pause();
            _timer.Disarm();
        }

        return _end;
    }

    public void InterruptRequested()
    {
        _vcpu?.RequestInterrupt();
        WakeIfSleeping();
    }

    public void NmiRequested()
    {
        _vcpu?.RequestNmi();
        WakeIfSleeping();
    }

    /// <summary>Ends a HLT without an interrupt.</summary>
    public void Unhalt()
    {
        _vcpu?.RequestUnhalt();
        WakeIfSleeping();
    }

    /// <summary>INIT to the only processor; a PC's chipset would reset it, and so do we.</summary>
    public void InitRequested() => End(new CycleEnd(CycleEndKind.Reset));

    /// <summary>The only processor never waits for a start-up message, and ignores it.</summary>
    public void StartupRequested(byte vector)
    {
    }

    public void Dispose()
    {
        _clock.DeadlineMoved = null;
        _timer.Dispose();
        _wake.Dispose();
    }

    private void Handle(IVcpu vcpu, in VmExit exit)
    {
        switch (exit.Reason)
        {
            case ExitReason.Halt:
                SleepUntilEvent(vcpu);
                break;
            case ExitReason.Shutdown:
                End(Crash(vcpu, "triple fault"));
                break;
            case ExitReason.InternalError:
                End(Crash(vcpu, exit.Detail ?? "the engine met something that it cannot execute"));
                break;
            default:
                // A kick, or nothing: the loop looks for what there is to do.
                break;
        }
    }

    private void SleepUntilEvent(IVcpu vcpu)
    {
        _timer.Disarm();
        _armedFor = MachineClock.Never;
        Paravirtual?.BeginSleep();
        while (_end is null && !vcpu.HasPendingEvent)
        {
            _clock.RunDue();
            _sleeping = true;
            // Wakers write their news, then look at the flag; this side does the reverse.
            Interlocked.MemoryBarrier();
            long deadline = _clock.NextDeadline;
            if (_end is null && !vcpu.HasPendingEvent)
            {
                _wake.Wait(deadline == MachineClock.Never ? -1 : Math.Max(deadline - _clock.Nanoseconds, 0));
            }

            _sleeping = false;
        }

        if (Paravirtual?.EndSleep() == true)
        {
            vcpu.RequestTlbFlush();
        }
    }

    private void ArmTimer()
    {
        long deadline = _clock.NextDeadline;
        if (deadline == _armedFor)
        {
            return;
        }

        _armedFor = deadline;
        if (deadline == MachineClock.Never)
        {
            _timer.Disarm();
        }
        else
        {
            _timer.Arm(deadline - _clock.Nanoseconds);
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
            Interrupt();
        }
    }

    /// <summary>Gets the attention of the running thread, whatever it does.</summary>
    private void Interrupt()
    {
        _vcpu?.Kick();
        WakeIfSleeping();
    }

    private void WakeIfSleeping()
    {
        Interlocked.MemoryBarrier();
        if (_sleeping && Thread.CurrentThread != _runner)
        {
            _wake.Set();
        }
    }

    private static CycleEnd Crash(IVcpu vcpu, string what)
    {
        var state = new CpuState();
        vcpu.GetState(state);
        return new CycleEnd(CycleEndKind.Crash, what, Registers: RegisterDump.Format(state));
    }
}
