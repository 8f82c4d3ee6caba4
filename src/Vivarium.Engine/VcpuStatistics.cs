namespace Vivarium.Engine;

/// <summary>Where a vCPU's time goes, in counts. Only ever grows; read it from any thread, approximately.</summary>
public sealed class VcpuStatistics
{
    public long BlocksTranslated;
    public long InstructionsTranslated;
    public long BlocksInvalidated;
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
}
