using System.Collections.Concurrent;
using System.Text;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Statistics;
using Vivarium.Expect;

namespace Vivarium.Cli.Tests;

/// <summary>A machine that notes what is done to it.</summary>
internal sealed class FakeMachine : IControlledMachine
{
    private readonly TaskCompletionSource<EndRecord> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly StringBuilder _typed = new();
    private int _presses;
    private int _measurements;

    public MachineRecord Record { get; } = TestRecords.Running("fake");

    public ConsoleHub Console { get; } = new(null);

    public Task<EndRecord> Ended => _ended.Task;

    public int Presses => Volatile.Read(ref _presses);

    /// <summary>Takes no keys.</summary>
    public bool Deaf { get; set; }

    public string Typed
    {
        get
        {
            lock (_typed)
            {
                return _typed.ToString();
            }
        }
    }

    public void PressPowerButton() => Interlocked.Increment(ref _presses);

    public void Kill() => End(new EndRecord(0, "killed"));

    /// <summary>Has 64 bytes of memory, all of which the balloon may have.</summary>
    public Task<BalloonStatistics> AskBalloonAsync(ulong? target, bool collect) => target > 64
        ? throw new InvalidInputException("there is not so much memory")
        : Task.FromResult(new BalloonStatistics
        {
            Memory = 64,
            Host = 32,
            Target = target ?? 7,
            Actual = 0,
            HasDriver = true,
            Inflated = 1,
            Reported = 2,
            Hinted = collect ? 3ul : 0,
        });

    /// <summary>What it sends for a picture; null: it has no screen.</summary>
    public byte[]? Picture { get; set; }

    public byte[] TakePicture() => Picture ?? throw new InvalidInputException("there is no screen");

    /// <summary>Says "found" to whoever waits for it, and never says anything else.</summary>
    public async Task<FoundText?> OperateAsync(ControlOrder order, CancellationToken cancellation)
    {
        Orders.Enqueue(order);
        if (order.Verb != ControlVerb.Expect)
        {
            return order.Text == "nonsense" ? throw new InvalidInputException("it cannot be") : null;
        }

        if (order.Text == "found")
        {
            return new FoundText(TextSource.Serial, "found", "it is found");
        }

        try
        {
            await Task.Delay(TimeSpan.FromSeconds(order.Seconds ?? 0), cancellation);
        }
        catch (OperationCanceledException)
        {
            _ = GivenUp.TrySetResult();
            throw;
        }

        return null;
    }

    /// <summary>What was asked of its keyboard, mouse, drives and voice.</summary>
    public ConcurrentQueue<ControlOrder> Orders { get; } = [];

    /// <summary>Completes when somebody no longer waits for what it says.</summary>
    public TaskCompletionSource GivenUp { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void End(EndRecord end)
    {
        Console.Complete();
        _ = _ended.TrySetResult(end);
    }

    /// <summary>How many clients have it measure now.</summary>
    public int Measurements => Volatile.Read(ref _measurements);

    public MachineSample Sample() => new()
    {
        Clock = 1,
        Engine = "fake",
        Resets = 0,
        CodeCache = new CodeCacheSample(4096, 0, 0, 0),
        UnclaimedPortAccesses = 0,
        UnclaimedMmioAccesses = 0,
        Total = ProcessorSample.Take([], topSites: 1),
        Processors = [],
    };

    public IDisposable Measure()
    {
        Interlocked.Increment(ref _measurements);
        return new Measurement(this);
    }

    public bool TryType(ReadOnlySpan<byte> keys)
    {
        if (Deaf)
        {
            return false;
        }

        lock (_typed)
        {
            _ = _typed.Append(Encoding.ASCII.GetString(keys));
        }

        return true;
    }

    private sealed class Measurement(FakeMachine machine) : IDisposable
    {
        public void Dispose() => Interlocked.Decrement(ref machine._measurements);
    }
}
