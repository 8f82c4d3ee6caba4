namespace Vivarium.Devices.Tests;

public class HpetTests
{
    private const ulong Configuration = 0x10;
    private const ulong Status = 0x20;
    private const ulong Counter = 0xF0;

    private readonly Board _board = new();
    private readonly InterruptLine _pit;
    private readonly InterruptLine _rtc;
    private readonly Hpet _hpet;

    public HpetTests()
    {
        _pit = _board.Interrupts.CreateIsaLine(0);
        _rtc = _board.Interrupts.CreateIsaLine(8);
        _hpet = new Hpet(_board.Clock, _board.Interrupts, _pit, _rtc);
        _hpet.Map(_board.Mmio);
        _board.EnableApic();
    }

    private static ulong TimerConfiguration(int timer) => 0x100 + 0x20 * (ulong)timer;

    private static ulong Comparator(int timer) => TimerConfiguration(timer) + 8;

    private ulong Read(ulong register, int size = 4) => _board.Mmio.Read(Hpet.DefaultAddress + register, size);

    private void Write(ulong register, ulong value, int size = 4) => _board.Mmio.Write(Hpet.DefaultAddress + register, size, value);

    [Fact]
    public void It_says_what_it_is()
    {
        Assert.Equal(0x8086_A201u, Hpet.BlockId);
        Assert.Equal(Hpet.BlockId, Read(0));
        Assert.Equal(10_000_000UL, Read(4));
        Assert.Equal(10_000_000UL << 32 | Hpet.BlockId, Read(0, 8));
        Assert.Equal(0x30UL, Read(TimerConfiguration(0)));
    }

    [Fact]
    public void The_counter_runs_only_while_enabled_and_can_be_set_while_not()
    {
        _board.Pass(1000);
        Assert.Equal(0UL, Read(Counter, 8));
        Write(Counter, 0xFFFF_FFF0);
        Write(Counter + 4, 1);
        Write(Configuration, 1);
        _board.Pass(320);
        Assert.Equal(0x2_0000_0010UL, Read(Counter, 8));
        Write(Configuration, 0);
        _board.Pass(320);
        Assert.Equal(0x10UL, Read(Counter));
        Assert.Equal(2UL, Read(Counter + 4));
    }

    [Fact]
    public void Legacy_replacement_takes_irq_0_from_the_pit()
    {
        _board.Redirect(2, 0x30);
        Write(Configuration, 3);
        _pit.Pulse();
        Assert.False(_board.Apic.HasInterrupt);
        Write(TimerConfiguration(0), 0x104);
        Write(Comparator(0), Read(Counter) + 1000);
        _board.Run(9_990);
        Assert.False(_board.Apic.HasInterrupt);
        _board.Run(10);
        Assert.Equal(0x30, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        _board.Run(Board.Second);
        Assert.False(_board.Apic.HasInterrupt);
        Write(Configuration, 1);
        _pit.Pulse();
        Assert.Equal(0x30, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void A_periodic_timer_is_set_up_as_systems_do()
    {
        _board.Redirect(2, 0x30);
        Write(Configuration, 3);
        Write(TimerConfiguration(0), 0x14C);
        Write(Comparator(0), 100_000);
        Write(Comparator(0), 400_000);
        Assert.Equal(0x13CUL, Read(TimerConfiguration(0)));
        _board.Run(Board.Millisecond);
        Assert.Equal(0x30, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        for (var i = 0; i < 5; i++)
        {
            _board.Run(4 * Board.Millisecond - 10);
            Assert.False(_board.Apic.HasInterrupt);
            _board.Run(10);
            Assert.Equal(0x30, _board.Apic.AcknowledgeInterrupt());
            _board.EndOfInterrupt();
        }
    }

    [Fact]
    public void A_comparator_of_32_bits_matches_after_the_wrap()
    {
        Write(Counter, 0xFFFF_FF00);
        Write(Counter + 4, 7);
        _board.Redirect(2, 0x30);
        Write(Configuration, 3);
        Write(TimerConfiguration(0), 0x104);
        Write(Comparator(0), 0x100);
        _board.Run(0x1FF * 10);
        Assert.False(_board.Apic.HasInterrupt);
        _board.Run(10);
        Assert.True(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void A_level_triggered_timer_holds_its_pin_until_its_status_is_cleared()
    {
        _board.Redirect(21, 0x8055);
        Write(Configuration, 1);
        Write(TimerConfiguration(2), 6 | 21 << 9);
        Write(Comparator(2), 100, 8);
        _board.Run(1000);
        Assert.Equal(4UL, Read(Status));
        Assert.Equal(0x55, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        Assert.Equal(0x55, _board.Apic.AcknowledgeInterrupt());
        Write(Status, 4);
        _board.EndOfInterrupt();
        Assert.False(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void A_tiny_period_does_not_keep_the_host_busy()
    {
        Write(Configuration, 3);
        Write(TimerConfiguration(0), 0x4C);
        Write(Comparator(0), 1, 8);
        _board.Pass(Board.Second);
        Assert.True(_board.Clock.Deadlines.NextDeadline >= Board.Second + 10 * Board.Microsecond);
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        Write(Configuration, 3);
        Write(TimerConfiguration(0), 0x14C);
        Write(Comparator(0), 100_000);
        Write(Comparator(0), 400_000);
        _board.Time.Nanoseconds += 2 * Board.Millisecond;
        var state = _hpet.Save();
        Assert.True(state.Timers[0].Due);

        var copy = new Board();
        copy.EnableApic();
        copy.Redirect(2, 0x30);
        var pit = copy.Interrupts.CreateIsaLine(0);
        var hpet = new Hpet(copy.Clock, copy.Interrupts, pit, copy.Interrupts.CreateIsaLine(8));
        hpet.Restore(state);
        Assert.False(pit.Connected);
        Assert.Equal(state.Counter, hpet.ReadMmio(Counter, 8));
        copy.Pass(0);
        Assert.Equal(0x30, copy.Apic.AcknowledgeInterrupt());
        copy.EndOfInterrupt();
        copy.Run(3 * Board.Millisecond);
        Assert.Equal(0x30, copy.Apic.AcknowledgeInterrupt());
        Assert.Throws<InvalidDataException>(() => hpet.Restore(state with { Timers = [] }));
    }
}
