using Vivarium.Engine.Host;

namespace Vivarium.Engine.Tracing;

/// <summary>
/// What one vCPU traces, on its way to another thread that writes it down. The vCPU never waits: what finds no room is
/// counted and lost. One thread adds, one takes.
/// </summary>
public sealed unsafe class TraceBuffer
{
    /// <summary>Records; some 2.5 MiB.</summary>
    private const int Capacity = 1 << 16;

    private readonly TraceRecord[] _records = new TraceRecord[Capacity];
    private long _added;
    private long _taken;
    private long _lost;

    public TraceBuffer(TraceKinds kinds) => Kinds = kinds;

    public TraceKinds Kinds { get; }

    /// <summary>How many records found no room.</summary>
    public long Lost => Volatile.Read(ref _lost);

    public bool Wants(TraceKinds kind) => (Kinds & kind) != 0;

    /// <summary>The adding thread only.</summary>
    public void Add(TraceEvent what, byte detail, ulong rip, ulong address = 0, ulong value = 0)
    {
        long added = _added;
        if (added - Volatile.Read(ref _taken) >= Capacity)
        {
            Volatile.Write(ref _lost, _lost + 1);
            return;
        }

        _records[added % Capacity] = new TraceRecord(HostInstructions.ReadTsc(), rip, address, value, what, detail);
        Volatile.Write(ref _added, added + 1);
    }

    /// <summary>Takes what was added until a moment, in its order. The taking thread only.</summary>
    /// <param name="until">The host's time-stamp counter.</param>
    /// <param name="records">Where they are put behind what is there.</param>
    public void Take(ulong until, List<TraceRecord> records)
    {
        long end = Volatile.Read(ref _added);
        long next = _taken;
        while (next < end && _records[next % Capacity] is var record && record.Tsc <= until)
        {
            records.Add(record);
            next++;
        }

        Volatile.Write(ref _taken, next);
    }
}
