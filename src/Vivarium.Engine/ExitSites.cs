using System.Runtime.InteropServices;

namespace Vivarium.Engine;

/// <summary>
/// Where in the guest's code exits happen, as far as a table of fixed size can tell. One thread adds; read it from any,
/// approximately.
/// </summary>
/// <remarks>
/// For each cause a set-associative table. A place that finds its set full takes the place of the rarest there, together
/// with its count (the space-saving algorithm): what is frequent stays for certain. How much of a count was inherited is
/// remembered and not told.
/// </remarks>
public sealed class ExitSites
{
    private const int Ways = 4;
    private const int Sets = 64;
    private const int TableSize = Ways * Sets;
    private const ulong GoldenRatio = 0x9E37_79B9_7F4A_7C15;

    private readonly long[] _totals = new long[(int)ExitCause.Kick + 1];
    private readonly Entry[] _entries = new Entry[((int)ExitCause.Kick + 1) * TableSize];

    private struct Entry
    {
        public ulong Rip;
        public long Count;
        public long Inherited;
    }

    /// <summary>Counts an exit, or several at once.</summary>
    public void Add(ExitCause cause, ulong rip, long count = 1)
    {
        _totals[(int)cause] += count;
        int set = (int)((rip * GoldenRatio) >> 58);
        Span<Entry> ways = _entries.AsSpan(((int)cause * TableSize) + (set * Ways), Ways);
        ref Entry rarest = ref ways[0];
        foreach (ref Entry way in ways)
        {
            if (way.Rip == rip)
            {
                way.Count += count;
                return;
            }

            if (way.Count < rarest.Count)
            {
                rarest = ref way;
            }
        }

        rarest.Inherited = rarest.Count;
        rarest.Rip = rip;
        rarest.Count += count;
    }

    /// <summary>All that were counted here, wherever they were.</summary>
    public long Total(ExitCause cause) => Volatile.Read(ref _totals[(int)cause]);

    /// <summary>Adds what is known of a cause to sums by RIP.</summary>
    public void AddTo(Dictionary<ulong, long> sums, ExitCause cause)
    {
        foreach (ref Entry entry in _entries.AsSpan((int)cause * TableSize, TableSize))
        {
            ulong rip = Volatile.Read(ref entry.Rip);
            long count = entry.Count - entry.Inherited;
            if (count > 0 && Volatile.Read(ref entry.Rip) == rip)
            {
                CollectionsMarshal.GetValueRefOrAddDefault(sums, rip, out _) += count;
            }
        }
    }

    /// <summary>The most frequent places of several vCPUs together, the first the most frequent.</summary>
    public static IReadOnlyList<ExitSite> Top(IEnumerable<ExitSites> tables, ExitCause cause, int most)
    {
        var sums = new Dictionary<ulong, long>();
        foreach (ExitSites table in tables)
        {
            table.AddTo(sums, cause);
        }

        return [.. sums.Select(sum => new ExitSite(sum.Key, sum.Value)).OrderByDescending(site => site.Count).ThenBy(site => site.Rip).Take(most)];
    }
}
