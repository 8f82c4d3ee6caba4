using System.Diagnostics;

namespace Vivarium.Engine.Host;

/// <summary>
/// The frequency of the host's TSC. Where nobody tells it, it is measured, which takes milliseconds: from when <see cref="Host"/>
/// is first touched until somebody wants to know, so that a machine that starts need not wait for it.
/// </summary>
internal sealed class TscFrequency
{
    /// <summary>With it, the tightest of several readings at each end bounds the error to some parts per million.</summary>
    private static readonly TimeSpan Shortest = TimeSpan.FromMilliseconds(5);

    private readonly Lazy<ulong> _hertz;

    /// <param name="told">In Hz; 0 if it is to be measured.</param>
    public TscFrequency(ulong told)
    {
        (long Time, ulong Tsc) begin = told == 0 ? Read() : default;
        _hertz = new Lazy<ulong>(() => told != 0 ? told : Measure(begin));
    }

    public static TscFrequency Host { get; } = new(HostCpu.ReadTscFrequency());

    /// <summary>May wait for some milliseconds when it is first asked for.</summary>
    public ulong Hertz => _hertz.Value;

    /// <summary>Against the host's monotonic clock.</summary>
    private static ulong Measure((long Time, ulong Tsc) begin)
    {
        TimeSpan missing = Shortest - Stopwatch.GetElapsedTime(begin.Time);
        if (missing > TimeSpan.Zero)
        {
            Thread.Sleep((int)Math.Ceiling(missing.TotalMilliseconds));
        }

        var (endTime, endTsc) = Read();
        double seconds = (double)(endTime - begin.Time) / Stopwatch.Frequency;
        double hertz = (endTsc - begin.Tsc) / seconds;
        return (ulong)Math.Round(hertz / 1000) * 1000;
    }

    private static unsafe (long Time, ulong Tsc) Read()
    {
        long bestSpan = long.MaxValue;
        (long, ulong) best = default;
        for (int i = 0; i < 16; i++)
        {
            long before = Stopwatch.GetTimestamp();
            ulong tsc = HostInstructions.ReadTsc();
            long span = Stopwatch.GetTimestamp() - before;
            if (span < bestSpan)
            {
                bestSpan = span;
                best = (before + (span / 2), tsc);
            }
        }

        return best;
    }
}
