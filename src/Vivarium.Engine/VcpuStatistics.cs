using System.Runtime.CompilerServices;

namespace Vivarium.Engine;

/// <summary>What a vCPU has done, in counts. Only ever grows; read it from any thread, approximately.</summary>
public sealed class VcpuStatistics
{
    public long BlocksTranslated;

    /// <summary>Those of <see cref="BlocksTranslated"/> that were copied from a translation of the same bytes elsewhere.</summary>
    public long BlocksCopied;
    public long InstructionsTranslated;

    /// <summary>Bytes of guest code that were translated.</summary>
    public long GuestBytesTranslated;

    public long BlocksInvalidated;

    /// <summary>Jumps that were made to go to their target's translation directly.</summary>
    public long Links;

    public long DispatcherEntries;

    /// <summary>Accesses that the TLB of translated code did not answer.</summary>
    public long TlbMisses;

    /// <summary>Accesses that no TLB answered: misses of the second-level TLB, fetches included.</summary>
    public long PageWalks;

    public long PageFaults;
    public long Exceptions;
    public long Interrupts;
    public long PrivilegedInstructions;
    public long PortAccesses;
    public long MmioAccesses;

    /// <summary>Flushes of a TLB, or of all in it that is not global.</summary>
    public long TlbFlushes;

    /// <summary>Flushes of single pages.</summary>
    public long TlbPageFlushes;

    public long Halts;

    private CauseCounts _exits;

    /// <summary>Where its time goes; null as long as <see cref="IVcpu.Measure"/> was never called.</summary>
    public VcpuTimes? Times { get; set; }

    /// <summary>Where its exits happen; null as long as <see cref="IVcpu.Measure"/> was never called.</summary>
    public ExitSites? Sites { get; set; }

    /// <summary>Sees the exits; null (the default): nobody wants to.</summary>
    public IExitObserver? Observer { get; set; }

    /// <summary>How often the guest had to wait for the monitor for that reason.</summary>
    public long Exits(ExitCause cause) => _exits[(int)cause];

    /// <summary>Counts one, or several that were one step for the monitor. The vCPU's own thread only.</summary>
    public void Count(ExitCause cause, int times = 1)
    {
        _exits[(int)cause] += times;
        Observer?.Exited(cause);
    }

    [InlineArray((int)ExitCause.Kick + 1)]
    private struct CauseCounts
    {
        private long _first;
    }
}
