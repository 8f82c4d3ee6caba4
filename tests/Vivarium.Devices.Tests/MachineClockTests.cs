using CsCheck;

namespace Vivarium.Devices.Tests;

public class MachineClockTests
{
    [Fact]
    public void Guest_time_stands_still_while_paused()
    {
        var time = new ManualTime { Nanoseconds = 1_000_000 };
        var clock = new MachineClock(time);
        Assert.Equal(0, clock.Nanoseconds);
        time.Nanoseconds += 50;
        clock.Resume();
        time.Nanoseconds += 70;
        Assert.Equal(70, clock.Nanoseconds);
        clock.Pause();
        time.Nanoseconds += 1000;
        Assert.Equal(70, clock.Nanoseconds);
        clock.Resume();
        time.Nanoseconds += 5;
        Assert.Equal(75, clock.Nanoseconds);
    }

    [Fact]
    public void The_TSC_frequency_is_asked_for_when_it_is_wanted()
    {
        var asked = 0;
        var clock = new MachineClock(new ManualTime()) { TscFrequencyReader = () => { asked++; return 2 * MachineClock.NanosecondsPerSecond; } };
        ulong tsc = 0;
        var paravirtual = new KvmClock(clock, () => tsc);
        clock.Resume();
        Assert.Equal(0, asked);
        tsc = 1000;
        Assert.Equal(500, paravirtual.Nanoseconds);
        Assert.Equal(500, clock.NanosecondsAtTsc(1000, 0));
    }

    [Fact]
    public void Timers_fire_once_in_the_order_of_their_deadlines()
    {
        var board = new Board();
        var fired = new List<int>();
        var timers = Enumerable.Range(0, 40).Select(i => board.Clock.Deadlines.CreateTimer(() => fired.Add(i))).ToArray();
        for (var i = 0; i < timers.Length; i++)
            timers[i].Arm(1000 - 10 * i);
        timers[20].Cancel();
        timers[39].Arm(5000);
        Assert.Equal(1000 - 380, board.Clock.Deadlines.NextDeadline);
        board.Pass(1000);
        Assert.Equal(Enumerable.Range(0, 39).Reverse().Where(i => i != 20), fired);
        board.Pass(10000);
        Assert.Equal(39, fired[^1]);
        Assert.Equal(MachineClock.Never, board.Clock.Deadlines.NextDeadline);
    }

    [Fact]
    public void The_queue_agrees_with_a_sorted_list() =>
        Gen.Select(Gen.Int[0, 9], Gen.Long[0, 100], Gen.Bool).Array[0, 60].Sample(steps =>
        {
            var clock = new MachineClock(new ManualTime());
            var timers = Enumerable.Range(0, 10).Select(_ => clock.Deadlines.CreateTimer(() => { })).ToArray();
            var model = new Dictionary<int, long>();
            foreach (var (index, deadline, arm) in steps)
            {
                if (arm)
                {
                    timers[index].Arm(deadline);
                    model[index] = deadline;
                }
                else
                {
                    timers[index].Cancel();
                    model.Remove(index);
                }

                Assert.Equal(model.Count == 0 ? MachineClock.Never : model.Values.Min(), clock.Deadlines.NextDeadline);
            }
        });

    [Fact]
    public void An_earlier_deadline_is_told_and_a_later_one_is_not()
    {
        var board = new Board();
        var moved = 0;
        board.Clock.Deadlines.DeadlineMoved = () => moved++;
        ClockTimer first = board.Clock.Deadlines.CreateTimer(() => { }), second = board.Clock.Deadlines.CreateTimer(() => { });
        first.Arm(100);
        second.Arm(200);
        Assert.Equal(1, moved);
        second.Arm(50);
        Assert.Equal(2, moved);
    }

    [Fact]
    public void The_tsc_converts_to_guest_time_without_firing_early()
    {
        var board = new Board();
        board.Clock.TscFrequency = 2_300_000_000;
        board.Clock.TscReader = () => (ulong)board.Time.Nanoseconds * 23 / 10 + 1_000_000;
        Assert.Equal(1000, board.Clock.NanosecondsAtTsc(1_000_000 + 2300, board.Clock.Tsc));
        Assert.Equal(1, board.Clock.NanosecondsAtTsc(1_000_001, board.Clock.Tsc));
        Assert.Equal(0, board.Clock.NanosecondsAtTsc(999_999, board.Clock.Tsc));
        Assert.True(board.Clock.NanosecondsAtTsc(ulong.MaxValue / 2, board.Clock.Tsc) > 0);
    }

    [Fact]
    public void A_saved_clock_goes_on_from_where_it_was()
    {
        var board = new Board();
        board.Pass(12345);
        var copy = new MachineClock(new ManualTime { Nanoseconds = 99 });
        copy.Restore(board.Clock.Save());
        Assert.Equal(12345, copy.Nanoseconds);
        Assert.Throws<InvalidOperationException>(() => board.Clock.Restore(copy.Save()));
        Assert.Throws<InvalidDataException>(() => copy.Restore(new MachineClockState { Nanoseconds = -1 }));
    }
}
