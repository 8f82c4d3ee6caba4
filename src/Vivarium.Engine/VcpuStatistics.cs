using System.Runtime.CompilerServices;

namespace Vivarium.Engine;

/// <summary>What a vCPU has done, in counts. Only ever grows; read it from any thread, approximately.</summary>
public sealed class VcpuStatistics
{
    public long BlocksTranslated;
    public long InstructionsTranslated;
    public long BlocksInvalidated;

    /// <summary>Bytes of all translations of the machine when this vCPU last made one.</summary>
    public long CodeBytes;

    public long DispatcherEntries;
    public long TlbMisses;
    public long PageFaults;
    public long Exceptions;
    public long Interrupts;
    public long PrivilegedInstructions;
    public long PortAccesses;
    public long MmioAccesses;
    public long TlbFlushes;
    public long Halts;

    private CauseCounts _exits;

    /// <summary>Where its time goes; null unless <see cref="IEngine.CreateVcpu"/> was asked to measure it.</summary>
    public VcpuTimes? Times { get; init; }

    /// <summary>How often the guest had to wait for the monitor for that reason.</summary>
    public long Exits(ExitCause cause) => _exits[(int)cause];

    /// <summary>Counts one. The vCPU's own thread only.</summary>
    public void Count(ExitCause cause) => _exits[(int)cause]++;

    [InlineArray((int)ExitCause.Kick + 1)]
    private struct CauseCounts
    {
        private long _first;
    }
}
