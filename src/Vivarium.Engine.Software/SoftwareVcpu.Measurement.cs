using Vivarium.Engine.Tracing;

namespace Vivarium.Engine.Software;

// What is kept and told of the vCPU's time and exits beyond plain counts, while somebody wants to know.
internal sealed unsafe partial class SoftwareVcpu : IExitObserver
{
    /// <summary>
    /// To know where in the guest a TLB miss was costs a search, so one of so many is located and stands for all. A prime,
    /// lest it fall in step with a loop.
    /// </summary>
    private const int MissesPerSample = 13;

    private readonly Lock _observing = new();
    private readonly IVcpuBus _plainBus;

    /// <summary>Null: nobody wants to know.</summary>
    private VcpuTimes? _times;

    /// <summary>Null: nobody wants to know.</summary>
    private TraceBuffer? _trace;

    private int _missesUntilSample = 1;

    public void Measure(bool on)
    {
        lock (_observing)
        {
            if (on == _times is not null)
            {
                return;
            }

            if (on)
            {
                VcpuTimes times = Statistics.Times ??= new VcpuTimes();
                Statistics.Sites ??= new ExitSites();
                times.Resume(Volatile.Read(ref Running) != 0 ? VcpuActivity.Guest : VcpuActivity.Idle);
                Volatile.Write(ref _times, times);
            }
            else
            {
                Volatile.Write(ref _times, null);
                Statistics.Times!.Pause();
            }

            Observe();
        }
    }

    public void Trace(TraceBuffer? buffer)
    {
        lock (_observing)
        {
            Volatile.Write(ref _trace, buffer);
            Observe();
        }
    }

    void IExitObserver.Exited(ExitCause cause)
    {
        if (_times is { } times)
        {
            times.Begin(cause);
            if (cause != ExitCause.TlbMiss)
            {
                Statistics.Sites!.Add(cause, S->Rip);
            }
        }

        if (_trace is { } trace && trace.Wants(TraceKinds.Exits) && cause != ExitCause.TlbMiss)
        {
            trace.Add(TraceEvent.Exit, (byte)cause, S->Rip);
        }
    }

    /// <summary>RDMSR was carried out, or refused.</summary>
    internal void TraceMsrRead(uint index, ulong value, bool done)
    {
        if (_trace is { } trace && trace.Wants(TraceKinds.Msr))
        {
            trace.Add(done ? TraceEvent.MsrRead : TraceEvent.MsrReadRefused, 8, S->Rip, index, value);
        }
    }

    /// <summary>WRMSR was carried out, or refused.</summary>
    internal void TraceMsrWrite(uint index, ulong value, bool done)
    {
        if (_trace is { } trace && trace.Wants(TraceKinds.Msr))
        {
            trace.Add(done ? TraceEvent.MsrWrite : TraceEvent.MsrWriteRefused, 8, S->Rip, index, value);
        }
    }

    private void TraceNmi()
    {
        if (_trace is { } trace && trace.Wants(TraceKinds.Irq))
        {
            trace.Add(TraceEvent.Interrupt, (byte)Vector.Nmi, S->Rip);
        }
    }

    /// <summary>What is wanted has changed.</summary>
    private void Observe()
    {
        IVcpuBus bus = _trace is { } trace ? new TracingBus(this, _plainBus, trace) : _plainBus;
        Bus = _times is { } times ? new TimedBus(bus, times) : bus;
        Statistics.Observer = _times is null && _trace is null ? null : this;
    }

    /// <summary>A TLB miss at the code that a helper returns to. The vCPU is about to go back there.</summary>
    private void NoteMiss(ulong linear, ulong returnAddress)
    {
        byte* pc = (byte*)returnAddress - 1;
        if (_trace is { } trace && trace.Wants(TraceKinds.Exits))
        {
            trace.Add(TraceEvent.Exit, (byte)ExitCause.TlbMiss, _code.FindByAddress(pc) is { Exists: true } block ? block.RipAt(pc, S->CodePage) : 0, linear);
        }

        if (_times is not null && --_missesUntilSample == 0)
        {
            _missesUntilSample = MissesPerSample;
            if (_code.FindByAddress(pc) is { } block)
            {
                Statistics.Sites!.Add(ExitCause.TlbMiss, block.RipAt(pc, S->CodePage), MissesPerSample);
            }
        }
    }
}
