using Vivarium.Board;
using Vivarium.Cpu;
using Vivarium.Devices;
using Vivarium.Engine;
using Vivarium.Host;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Processors' threads with guests that do nothing but take interrupts: who starts, sleeps, wakes and ends when.</summary>
public sealed class VcpuThreadTests : IDisposable
{
    private const int Processors = 4;
    private const int Vector = 0x51;
    private const ulong CommandLow = 0x300;
    private const ulong CommandHigh = 0x310;
    private const uint Init = 0x4500;
    private const uint Startup = 0x4600;

    private readonly CycleStop _stop = new();
    private readonly MachineClock _clock = new();
    private readonly InterruptRouter _interrupts = new();
    private readonly DeadlineTimers _timers;
    private readonly List<LocalApic> _apics = [];
    private readonly List<FakeVcpu> _vcpus = [];
    private readonly List<VcpuThread> _threads = [];
    private Action<int, int> _handler = (_, _) => { };

    public VcpuThreadTests()
    {
        _timers = new DeadlineTimers(Processors, index => _threads[index].Kick());
        for (int i = 0; i < Processors; i++)
        {
            int index = i;
            var apic = new LocalApic((uint)i, _interrupts.Apics, _clock);
            apic.WriteMmio(0xF0, 4, 0x1FF);
            _apics.Add(apic);
            _vcpus.Add(new FakeVcpu(i, apic, vector => _handler(index, vector)));
            _threads.Add(new VcpuThread(_vcpus[i], apic, _clock, _timers, _stop, signature: 0x123, paravirtual: null));
        }

        _stop.Stopped = () => _threads.ForEach(thread => thread.Kick());
    }

    public void Dispose()
    {
        _timers.Dispose();
        _threads.ForEach(thread => thread.Dispose());
    }

    [Fact]
    public async Task Application_processors_start_where_the_message_says()
    {
        Task running = RunAll();
        Send(0, 2, Init);
        Send(0, 2, Startup | 0x9A);
        await Until(() => _vcpus[2].Starts.Count != 0, running);
        _stop.Stop(new CycleEnd(CycleEndKind.PowerOff));
        await running;
        Assert.Equal([0x9_A000ul], _vcpus[2].Starts);
        Assert.Empty(_vcpus[1].Starts);
        Assert.Empty(_vcpus[3].Starts);
    }

    [Fact]
    public async Task A_running_processor_can_be_taken_off_line_and_started_again()
    {
        Task running = RunAll();
        for (byte vector = 1; vector <= 50; vector++)
        {
            int before = vector - 1;
            Send(0, 1, Init);
            Send(0, 1, Startup | vector);
            Send(0, 1, Startup | vector);
            await Until(() => _vcpus[1].Starts.Count > before, running);
        }

        _stop.Stop(new CycleEnd(CycleEndKind.PowerOff));
        await running;
        Assert.Equal(Enumerable.Range(1, 50).Select(vector => (ulong)vector << 12), _vcpus[1].Starts);
    }

    [Fact]
    public async Task Init_to_the_first_processor_resets_the_machine()
    {
        Task running = RunAll();
        Send(1, 0, Init);
        await running;
        Assert.Equal(CycleEndKind.Reset, _stop.Reason!.Kind);
    }

    [Fact]
    public async Task One_processors_end_is_everyones()
    {
        _vcpus[3].NextExit = ExitReason.Shutdown;
        Task running = RunAll();
        Send(0, 3, Startup | 1);
        await running;
        Assert.Equal(CycleEndKind.Crash, _stop.Reason!.Kind);
        Assert.Contains("CPU 3", _stop.Reason.Detail, StringComparison.Ordinal);
    }

    /// <summary>A lost wake-up would leave the interrupt with a processor that sleeps for ever.</summary>
    [Fact]
    public async Task An_interrupt_that_goes_round_among_halted_processors_is_never_lost()
    {
        const int rounds = 10_000;
        int taken = 0;
        _handler = (index, _) =>
        {
            if (++taken == rounds)
            {
                _stop.Stop(new CycleEnd(CycleEndKind.PowerOff));
            }
            else
            {
                Send(index, (index + 1) % Processors, Vector);
            }
        };
        for (int i = 1; i < Processors; i++)
        {
            Send(0, i, Startup | 1);
        }

        Task running = RunAll();
        _interrupts.Apics.SignalMessage(0xFEE0_0000, Vector);
        await running;
        Assert.Equal(rounds, taken);
    }

    [Fact]
    public async Task Each_processors_timer_wakes_it()
    {
        int[] ticks = new int[Processors];
        _handler = (index, _) =>
        {
            _ = Interlocked.Increment(ref ticks[index]);
            if (ticks.All(count => count >= 20))
            {
                _stop.Stop(new CycleEnd(CycleEndKind.PowerOff));
            }
        };
        for (int i = 0; i < Processors; i++)
        {
            _apics[i].WriteMmio(0x3E0, 4, 0xB);
            _apics[i].WriteMmio(0x320, 4, 0x2_00EC);
            _apics[i].WriteMmio(0x380, 4, 1_000_000);
            if (i != 0)
            {
                Send(0, i, Startup | 1);
            }
        }

        await RunAll();
        Assert.All(ticks, count => Assert.True(count >= 20));
    }

    private void Send(int sender, int destination, uint command)
    {
        _apics[sender].WriteMmio(CommandHigh, 4, (ulong)destination << 24);
        _apics[sender].WriteMmio(CommandLow, 4, command);
    }

    private Task RunAll()
    {
        _clock.Resume();
        return Task.WhenAll(_threads.Select(thread => Task.Factory.StartNew(thread.Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)))
            .WaitAsync(TimeSpan.FromMinutes(2));
    }

    private static async Task Until(Func<bool> condition, Task running)
    {
        while (!condition())
        {
            Assert.False(running.IsCompleted);
            await Task.Delay(1);
        }
    }
}
