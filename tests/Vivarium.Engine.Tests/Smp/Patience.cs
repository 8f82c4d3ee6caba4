using System.Diagnostics;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>A limit of waiting that a test process which is stopped for a while does not use up: each look at it counts little.</summary>
internal sealed class Patience(TimeSpan limit)
{
    private static readonly TimeSpan Most = TimeSpan.FromMilliseconds(200);

    private readonly Stopwatch _sinceLast = Stopwatch.StartNew();
    private TimeSpan _used;

    /// <summary>To be asked at least every 200 ms.</summary>
    public bool Exhausted
    {
        get
        {
            TimeSpan passed = _sinceLast.Elapsed;
            _sinceLast.Restart();
            _used += passed < Most ? passed : Most;
            return _used > limit;
        }
    }
}
