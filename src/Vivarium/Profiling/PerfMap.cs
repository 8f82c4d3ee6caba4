using System.Globalization;
using System.Text;
using Vivarium.Engine;
using Vivarium.Host;

namespace Vivarium.Profiling;

/// <summary>
/// /tmp/perf-PID.map, by which Linux's <c>perf</c> names code that no file holds: lines of address, size and name. They are
/// written by a thread of its own. It stays when the process ends, for that is when <c>perf report</c> reads it.
/// </summary>
/// <remarks>
/// The format knows no end of a name. A translation that the guest's writes have dropped keeps its line, for its place is not
/// used again until all translations are thrown away; then the file begins anew, and what was measured before loses its names.
/// </remarks>
internal sealed class PerfMap : ITranslationObserver, IDisposable
{
    /// <summary>Of the file: more than a million lines.</summary>
    private const long MostBytes = 64 << 20;

    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(200);

    private readonly GuestSymbols _symbols;
    private readonly Action<string> _warn;
    private readonly FileStream _file;
    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim _ending = new();
    private readonly StringBuilder _text = new();
    private readonly Thread _writer;
    private readonly List<string> _lasting = [];
    private List<Entry> _pending = [];
    private bool _thrownAway;
    private bool _ended;

    /// <exception cref="InvalidInputException">The symbols cannot be read.</exception>
    /// <exception cref="VivariumException">The file cannot be made.</exception>
    public PerfMap(PerfMapSpec spec, Action<string> warn)
    {
        _symbols = GuestSymbols.Load(spec.Symbols);
        _warn = warn;
        _file = new FileStream(PerfMapFile.Create($"/tmp/perf-{Environment.ProcessId}.map"), FileAccess.Write, bufferSize: 0);
        _writer = new Thread(WriteUntilTheEnd) { IsBackground = true, Name = "perf map" };
        _writer.Start();
    }

    private readonly record struct Entry(ulong Address, int Size, ulong Rip);

    public void Translated(ulong address, int size, ulong rip)
    {
        lock (_lock)
        {
            if (!_ended)
            {
                _pending.Add(new Entry(address, size, rip));
            }
        }
    }

    public void Made(ulong address, int size, string name)
    {
        lock (_lock)
        {
            _lasting.Add(string.Create(CultureInfo.InvariantCulture, $"{address:x} {size:x} {name}\n"));
            _thrownAway = true;
        }
    }

    /// <summary>Another engine is to be told of, whose translations come instead of those so far.</summary>
    public void BeginAnew()
    {
        lock (_lock)
        {
            _lasting.Clear();
        }

        ThrownAway();
    }

    public void ThrownAway()
    {
        lock (_lock)
        {
            _pending.Clear();
            _thrownAway = true;
        }
    }

    public void Dispose()
    {
        _ending.Set();
        _writer.Join();
        _file.Dispose();
        _ending.Dispose();
    }

    private void WriteUntilTheEnd()
    {
        bool ending;
        do
        {
            ending = _ending.Wait(s_interval);
            try
            {
                WritePending();
            }
            catch (IOException e)
            {
                End($"the map for perf is not complete: {e.Message}");
            }
        }
        while (!ending && !_ended);
    }

    private void WritePending()
    {
        List<Entry> entries;
        bool thrownAway;
        string lasting;
        lock (_lock)
        {
            (entries, _pending) = (_pending, []);
            (thrownAway, _thrownAway) = (_thrownAway, false);
            lasting = string.Concat(_lasting);
        }

        if (thrownAway)
        {
            _file.SetLength(0);
            _file.Position = 0;
            _text.Append(lasting);
        }

        foreach (Entry entry in entries)
        {
            _text.Append(CultureInfo.InvariantCulture, $"{entry.Address:x} {entry.Size:x} {_symbols.NameOf(entry.Rip)}\n");
        }

        if (_file.Position + _text.Length > MostBytes)
        {
            _text.Clear();
            End($"the map for perf has reached {ByteSize.Format(MostBytes)}: what is translated from now on has no names in it");
            return;
        }

        _file.Write(Encoding.ASCII.GetBytes(_text.ToString()));
        _text.Clear();
    }

    private void End(string why)
    {
        lock (_lock)
        {
            _ended = true;
            _pending.Clear();
        }

        _warn(why);
    }
}
