namespace Vivarium.Network.Tests;

/// <summary>A clock that only tests move.</summary>
internal sealed class ManualTime : TimeProvider
{
    private long _timestamp = 1;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => _timestamp;

    public void Advance(TimeSpan time) => _timestamp += time.Ticks;
}
