namespace Vivarium.Devices.Tests;

/// <summary>A host clock that moves when a test says so.</summary>
internal sealed class ManualTime : TimeProvider
{
    private static readonly DateTimeOffset Start = new(2024, 2, 29, 23, 59, 58, TimeSpan.Zero);

    public long Nanoseconds { get; set; }

    public override long TimestampFrequency => 1_000_000_000;

    public override long GetTimestamp() => Nanoseconds;

    public override DateTimeOffset GetUtcNow() => Start.AddTicks(Nanoseconds / 100);
}
