using Vivarium.Board;
using Vivarium.Cpu;
using Vivarium.Engine;
using Vivarium.Engine.Host;
using Vivarium.Gdb;
using Vivarium.Memory;

namespace Vivarium.Debugging;

/// <summary>A power cycle as a debugger has it: stops its processors and its clock, and tells what stops them.</summary>
internal sealed class CycleDebugger : IDebugTarget
{
    private readonly Pc _pc;
    private readonly CycleStop _stop;
    private readonly ProcessorHold _hold;
    private readonly bool[] _crashed;
    private IReadOnlyList<VcpuThread> _threads = [];
    private Action<DebugEvent>? _tell;

    private readonly Lock _time = new();

    /// <summary>The host's time-stamp counter when guest time was stopped; null while it runs.</summary>
    private ulong? _stoppedAt;

    /// <summary>Guest time runs only while a processor takes its step.</summary>
    private volatile bool _stepping;

    /// <summary>How many processors are taking theirs.</summary>
    private int _steppers;

    /// <param name="pc">The board.</param>
    /// <param name="model">What the processors are.</param>
    /// <param name="stop">When the cycle ends.</param>
    /// <param name="waits">It begins stopped, and runs when a debugger says so or goes.</param>
    public CycleDebugger(Pc pc, CpuModel model, CycleStop stop, bool waits)
    {
        _pc = pc;
        Model = model;
        _stop = stop;
        int count = pc.LocalApics.Count;
        _hold = new ProcessorHold(count, waits);
        _crashed = new bool[count];
        _stoppedAt = waits ? Tsc() : null;
    }

    public Lock Gate { get; } = new();

    public bool HasEnded { get; private set; }

    /// <summary>Guest time is not to run yet.</summary>
    public bool IsStopped => _stoppedAt is not null;

    public CpuModel Model { get; }

    public GuestMemory Memory => _pc.Memory;

    public IReadOnlyList<IVcpu> Processors { get; private set; } = [];

    public bool IsStarted(int processor) => !_threads[processor].WaitsForStartup;

    /// <summary>To be called before the processors' threads begin.</summary>
    public void Bind(IReadOnlyList<IVcpu> processors, IReadOnlyList<VcpuThread> threads)
    {
        Processors = processors;
        _threads = threads;
    }

    public bool TryAttach(Action<DebugEvent> tell) => Interlocked.CompareExchange(ref _tell, tell, null) is null;

    public void Detach()
    {
        _ = Interlocked.Exchange(ref _tell, null);
        if (HasEnded)
        {
            return;
        }

        Stop();
        foreach (IVcpu processor in Processors)
        {
            processor.SetGuestDebug(null);
        }

        Span<bool> all = stackalloc bool[Processors.Count];
        all.Fill(true);
        Resume(all, stepping: false);
    }

    public void Stop()
    {
        for (int i = 0; i < Processors.Count; i++)
        {
            _hold.Want(i);
            _threads[i].Kick();
        }

        _hold.WaitForAll();
        StopTime();
    }

    public void Resume(ReadOnlySpan<bool> run, bool stepping)
    {
        _stepping = stepping;
        if (!stepping && run.Contains(true))
        {
            RunTime();
        }

        for (int i = 0; i < run.Length; i++)
        {
            if (run[i])
            {
                _hold.Release(i);
            }
        }
    }

    public void Kill() => _stop.Stop(new CycleEnd(CycleEndKind.Stopped));

    /// <summary>On a processor's thread, before it enters guest code: false if it has to <see cref="Wait"/>.</summary>
    public bool MayEnter(int processor) => _hold.TryEnter(processor);

    /// <summary>On a processor's thread, or any: it is to wait.</summary>
    public bool IsWanted(int processor) => _hold.IsWanted(processor);

    /// <summary>On a processor's thread, outside of guest code.</summary>
    public void Wait(int processor) => _hold.Wait(processor);

    /// <summary>On a processor's thread, before it runs guest code. True: <see cref="EndStep"/> must follow.</summary>
    public bool BeginStep()
    {
        if (!_stepping)
        {
            return false;
        }

        lock (_time)
        {
            if (_steppers++ == 0)
            {
                RunTime();
            }
        }

        return true;
    }

    /// <summary>On a processor's thread, when it has run guest code, or waited for an event.</summary>
    public void EndStep()
    {
        lock (_time)
        {
            if (--_steppers == 0)
            {
                StopTime();
            }
        }
    }

    /// <summary>On a processor's thread, when it ends.</summary>
    public void Leave(int processor) => _hold.Leave(processor);

    /// <summary>On a processor's thread: it has met what the debugger asked for.</summary>
    public void Stopped(int processor, in VmExit exit)
    {
        _crashed[processor] = false;
        Tell(new DebugEvent(DebugEventKind.Stopped, processor, exit));
    }

    /// <summary>On a processor's thread: it has shut down. True if a debugger looks at it first; then it comes here again.</summary>
    public bool Crashed(int processor)
    {
        bool first = !_crashed[processor];
        _crashed[processor] = true;
        return first && Tell(new DebugEvent(DebugEventKind.Crashed, processor));
    }

    /// <summary>The cycle is to end: nobody waits any more.</summary>
    public void LetGo() => _hold.Close();

    /// <summary>The cycle has ended, and its parts will be gone when this returns.</summary>
    public void End(CycleEndKind kind)
    {
        lock (Gate)
        {
            HasEnded = true;
            _tell?.Invoke(new DebugEvent(kind switch
            {
                CycleEndKind.PowerOff => DebugEventKind.PoweredOff,
                CycleEndKind.Reset => DebugEventKind.Reset,
                _ => DebugEventKind.Killed,
            }));
        }
    }

    /// <summary>False: nobody listens, and the processor goes on.</summary>
    private bool Tell(in DebugEvent happened)
    {
        if (Volatile.Read(ref _tell) is not { } tell)
        {
            return false;
        }

        _hold.Want(happened.Processor);
        tell(happened);
        return true;
    }

    private void RunTime()
    {
        lock (_time)
        {
            if (_stoppedAt is not { } since)
            {
                return;
            }

            ulong stopped = Tsc() - since;
            foreach (IVcpu processor in Processors)
            {
                processor.TscOffset -= stopped;
            }

            _stoppedAt = null;
            _pc.Clock.Resume();
        }
    }

    private void StopTime()
    {
        lock (_time)
        {
            if (_stoppedAt is null)
            {
                _stoppedAt = Tsc();
                _pc.Clock.Pause();
            }
        }
    }

    private static unsafe ulong Tsc() => HostInstructions.ReadTsc();
}
