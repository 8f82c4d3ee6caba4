namespace Vivarium.Engine.Software;

// What is kept of the vCPU's time and exits beyond plain counts, while somebody wants to know.
internal sealed unsafe partial class SoftwareVcpu : IExitObserver
{
    /// <summary>
    /// To know where in the guest a TLB miss was costs a search, so one of so many is located and stands for all. A prime,
    /// lest it fall in step with a loop.
    /// </summary>
    private const int MissesPerSample = 13;

    private readonly IVcpuBus _plainBus;

    /// <summary>Null: nobody wants to know.</summary>
    private VcpuTimes? _times;

    private int _missesUntilSample = 1;

    public void Measure(bool on)
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
            Bus = new TimedBus(_plainBus, times);
            Volatile.Write(ref _times, times);
            Statistics.Observer = this;
        }
        else
        {
            Statistics.Observer = null;
            Bus = _plainBus;
            Volatile.Write(ref _times, null);
            Statistics.Times!.Pause();
        }
    }

    void IExitObserver.Exited(ExitCause cause)
    {
        _times?.Begin(cause);
        if (cause != ExitCause.TlbMiss)
        {
            Statistics.Sites!.Add(cause, S->Rip);
        }
    }

    /// <summary>A TLB miss at the code that a helper returns to.</summary>
    private void SampleMiss(ulong returnAddress)
    {
        if (--_missesUntilSample == 0)
        {
            _missesUntilSample = MissesPerSample;
            byte* pc = (byte*)returnAddress - 1;
            if (_code.FindByAddress(pc) is { } block)
            {
                Statistics.Sites!.Add(ExitCause.TlbMiss, block.RipAt(pc), MissesPerSample);
            }
        }
    }
}
