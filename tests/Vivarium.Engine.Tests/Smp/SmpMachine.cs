using Vivarium.Engine.Software;
using Vivarium.Engine.Tests.Snippets;
using Vivarium.Memory;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>
/// A 64-bit machine with several vCPUs that run at the same time, each on a thread of its own. A run that does not end is
/// ended by kicks after some seconds, and fails with a message that says where each vCPU was.
/// </summary>
internal sealed class SmpMachine : IDisposable
{
    /// <summary>Plain memory for everybody, 256 KiB.</summary>
    public const ulong Shared = SnippetMachine.Data;

    /// <summary>A byte that is not zero when snippets should end. It has a cache line for itself.</summary>
    public const ulong StopFlag = 0x6_F000;

    /// <summary>Plain memory of each vCPU, in pages of 2 MiB.</summary>
    private const ulong FirstLog = 0x40_0000;

    public const ulong LogSize = 0x20_0000;

    private static readonly TimeSpan GiveUp = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan Slice = TimeSpan.FromMilliseconds(20);

    private readonly SnippetMachine _machine;
    private readonly SemaphoreSlim _ended = new(0);
    private bool _stuck;

    public SmpMachine(int cpus, EngineOptions? options = null)
    {
        // The first one is not run: like a processor that nobody has started.
        _machine = SnippetMachine.Long(processors: cpus + 1, options: options);
        Cpus = [.. Enumerable.Range(0, cpus).Select(index => new SmpCpu(_machine, index))];
        for (int i = 0; i < cpus; i++)
        {
            Pages.MapLarge(Log(i), Log(i), 21, PageTables.P | PageTables.Rw);
        }
    }

    public IReadOnlyList<SmpCpu> Cpus { get; }

    public GuestMemory Memory => _machine.Memory;

    public PageTables Pages => _machine.Pages;

    /// <summary>The one-vCPU machine around which this one is built: its tables, gates and assembler.</summary>
    public SnippetMachine Base => _machine;

    /// <summary>Where a vCPU may write what it saw: <see cref="LogSize"/> bytes.</summary>
    public static ulong Log(int cpu) => FirstLog + ((ulong)cpu * LogSize);

    /// <summary>Asks snippets that look at <see cref="StopFlag"/> to end.</summary>
    public void Stop() => Memory.Write(StopFlag, (byte)1);

    /// <summary>Runs all vCPUs until each has ended. After <paramref name="limit"/> they are asked to <see cref="Stop"/>.</summary>
    /// <param name="meanwhile">Done on the calling thread while they run; they are asked to stop when it returns.</param>
    /// <param name="enough">What must be true before they are asked, however long that takes: a busy host needs more time.</param>
    public void Run(TimeSpan? limit = null, Action? meanwhile = null, Func<bool>? enough = null)
    {
        var patience = new Patience(GiveUp);
        Memory.Write(StopFlag, (byte)0);
        foreach (SmpCpu cpu in Cpus)
        {
            cpu.Start(() => _ended.Release());
        }

        string? thrown = null;
        if (meanwhile is not null)
        {
            try
            {
                meanwhile();
            }
            catch (Exception failure)
            {
                thrown = failure.Message;
            }

            Stop();
        }

        var run = limit is { } some ? new Patience(some) : null;
        int left = Cpus.Count;
        while (left > 0 && thrown is null && !patience.Exhausted)
        {
            if (_ended.Wait(Slice))
            {
                left--;
                if (Cpus.Any(cpu => cpu.Failure is not null))
                {
                    break;
                }
            }
            else if (run is { Exhausted: true } && enough?.Invoke() != false)
            {
                Stop();
            }
        }

        Finish(left, thrown);
    }

    public void Dispose()
    {
        // What a thread still uses is not freed.
        if (_stuck)
        {
            return;
        }

        foreach (SmpCpu cpu in Cpus)
        {
            cpu.Vcpu.Dispose();
        }

        _machine.Dispose();
        _ended.Dispose();
    }

    private void Finish(int left, string? thrown)
    {
        if (left > 0)
        {
            // The one that failed is the cause; the others are given time to end by themselves.
            Stop();
            while (left > 0 && _ended.Wait(TimeSpan.FromMilliseconds(200)))
            {
                left--;
            }
        }

        foreach (SmpCpu cpu in Cpus)
        {
            if (left > 0 && cpu.Running)
            {
                cpu.Abort();
            }
        }

        while (left > 0 && _ended.Wait(TimeSpan.FromSeconds(3)))
        {
            left--;
        }

        var failures = Cpus.Where(cpu => cpu.Failure is not null).Select(cpu => cpu.Failure!).ToList();
        if (left > 0)
        {
            _stuck = true;
            failures.Add($"{left} vCPU threads do not answer to Kick: {string.Join(", ", Cpus.Where(cpu => cpu.Running).Select(cpu => cpu.Index))}");
        }

        if (thrown is not null)
        {
            failures.Insert(0, thrown);
        }

        Assert.True(failures.Count == 0, string.Join(Environment.NewLine, failures));
    }
}
