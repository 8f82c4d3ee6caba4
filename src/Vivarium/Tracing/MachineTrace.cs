using System.Globalization;
using System.Text;
using Vivarium.Engine;
using Vivarium.Engine.Host;
using Vivarium.Engine.Tracing;

namespace Vivarium.Tracing;

/// <summary>
/// Writes down what the vCPUs trace, on a thread of its own: a slow disk costs records, never the guest's time. When the
/// host cannot write, tracing ends and the machine runs on.
/// </summary>
internal sealed class MachineTrace : IDisposable
{
    private const int BlockSize = 1 << 18;

    /// <summary>How long vCPUs fill their buffers.</summary>
    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(5);

    /// <summary>A file that takes no more, a pipe perhaps, does not keep the machine from ending.</summary>
    private static readonly TimeSpan s_farewell = TimeSpan.FromSeconds(2);

    private readonly TraceSpec _spec;
    private readonly Action<string> _warn;
    private readonly TraceFile _file;
    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim _ending = new();
    private readonly List<(TraceRecord Record, int Vcpu)> _batch = [];
    private readonly List<TraceRecord> _taken = [];
    private readonly StringBuilder _text = new();
    private readonly byte[] _block = new byte[BlockSize];
    private readonly Thread _writer;

    /// <summary>The power cycles whose records are still to be written; the last may still run.</summary>
    private readonly List<Cycle> _cycles = [];

    /// <summary>Nothing more is written.</summary>
    private bool _failed;

    /// <param name="Vcpus">Its processors.</param>
    /// <param name="Buffers">What they trace, in the same order.</param>
    /// <param name="Origin">The host's time-stamp counter when it began.</param>
    private sealed record Cycle(IReadOnlyList<IVcpu> Vcpus, TraceBuffer[] Buffers, ulong Origin)
    {
        public bool Begun { get; set; }

        /// <summary>How many lost lines were told.</summary>
        public long Lost { get; set; }
    }

    /// <exception cref="InvalidInputException">The file cannot be made.</exception>
    public MachineTrace(TraceSpec spec, Action<string> warn)
    {
        _spec = spec;
        _warn = warn;
        try
        {
            _file = new TraceFile(spec.Path, spec.Size);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new InvalidInputException($"cannot write the trace to '{spec.Path}': {e.Message}", e);
        }

        _writer = new Thread(WriteUntilTheEnd) { IsBackground = true, Name = "trace" };
        _writer.Start();
    }

    /// <summary>Traces these processors too, whose time begins now. None of them runs, and those before do not run any more.</summary>
    public void Attach(IReadOnlyList<IVcpu> vcpus)
    {
        var cycle = new Cycle(vcpus, [.. vcpus.Select(_ => new TraceBuffer(_spec.Kinds))], Now());
        lock (_lock)
        {
            if (_failed)
            {
                return;
            }

            _cycles.Add(cycle);
            for (int i = 0; i < vcpus.Count; i++)
            {
                vcpus[i].Trace(cycle.Buffers[i]);
            }
        }
    }

    public void Dispose()
    {
        _ending.Set();
        if (_writer.Join(s_farewell))
        {
            _file.Dispose();
            _ending.Dispose();
        }
    }

    private static unsafe ulong Now() => HostInstructions.ReadTsc();

    private void WriteUntilTheEnd()
    {
        bool ending;
        do
        {
            ending = _ending.Wait(s_interval);
            try
            {
                WriteAll();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                GiveUp();
                _warn($"tracing has ended, and the machine runs on: {e.Message}");
                return;
            }
        }
        while (!ending);
    }

    /// <summary>Writes what was traced until now.</summary>
    private void WriteAll()
    {
        List<Cycle> cycles;
        lock (_lock)
        {
            cycles = [.. _cycles];
            _cycles.RemoveRange(0, Math.Max(_cycles.Count - 1, 0));
        }

        foreach (Cycle cycle in cycles)
        {
            if (!cycle.Begun)
            {
                cycle.Begun = true;
                _text.Append("# seconds vcpu rip what, from the machine's start or reset\n");
            }

            Write(cycle);
        }

        WriteText();
    }

    /// <summary>In the order of time.</summary>
    private void Write(Cycle cycle)
    {
        ulong now = Now();
        _batch.Clear();
        for (int i = 0; i < cycle.Buffers.Length; i++)
        {
            _taken.Clear();
            cycle.Buffers[i].Take(now, _taken);
            foreach (TraceRecord record in _taken)
            {
                _batch.Add((record, i));
            }
        }

        if (cycle.Buffers.Length > 1)
        {
            _batch.Sort((a, b) => a.Record.Tsc.CompareTo(b.Record.Tsc));
        }

        foreach ((TraceRecord record, int vcpu) in _batch)
        {
            TraceText.Append(_text, record, vcpu, cycle.Origin);
            if (_text.Length > BlockSize / 2)
            {
                WriteText();
            }
        }

        long lost = cycle.Buffers.Sum(buffer => buffer.Lost);
        if (lost != cycle.Lost)
        {
            _text.Append(CultureInfo.InvariantCulture, $"# {lost - cycle.Lost} lines lost: the guest was faster than the disk\n");
            cycle.Lost = lost;
        }
    }

    private void GiveUp()
    {
        lock (_lock)
        {
            _failed = true;
            foreach (IVcpu vcpu in _cycles.SelectMany(cycle => cycle.Vcpus))
            {
                vcpu.Trace(null);
            }

            _cycles.Clear();
        }
    }

    /// <summary>All text is ASCII.</summary>
    private void WriteText()
    {
        int length = 0;
        foreach (ReadOnlyMemory<char> chunk in _text.GetChunks())
        {
            length += Encoding.ASCII.GetBytes(chunk.Span, _block.AsSpan(length));
        }

        _text.Clear();
        if (length != 0)
        {
            _file.Write(_block.AsSpan(0, length));
        }
    }
}
