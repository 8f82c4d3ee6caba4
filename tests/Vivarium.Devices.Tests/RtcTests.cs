namespace Vivarium.Devices.Tests;

public class RtcTests
{
    private readonly Board _board = new();
    private readonly InterruptLine _irq8;
    private readonly Rtc _rtc;

    public RtcTests()
    {
        _irq8 = _board.Interrupts.CreateIsaLine(Rtc.Irq);
        _rtc = new Rtc(_board.Clock, _irq8, 3UL << 30, 1UL << 30);
        _rtc.Map(_board.Ports);
    }

    private byte Read(byte index)
    {
        _board.Out(0x70, index);
        return _board.In(0x71);
    }

    private void Write(byte index, byte value)
    {
        _board.Out(0x70, index);
        _board.Out(0x71, value);
    }

    private string Now() => $"{Read(0x32):X2}{Read(9):X2}-{Read(8):X2}-{Read(7):X2} {Read(4):X2}:{Read(2):X2}:{Read(0):X2}";

    [Fact]
    public void It_shows_the_hosts_time_in_bcd_over_a_leap_day()
    {
        Assert.Equal("2024-02-29 23:59:58", Now());
        Assert.Equal(5, Read(6));
        _board.Pass(2 * Board.Second);
        Assert.Equal("2024-03-01 00:00:00", Now());
        Assert.Equal(0x80, Read(0x0D));
        Assert.Equal(0x26, Read(0x0A));
    }

    [Fact]
    public void Binary_and_twelve_hour_formats_work()
    {
        Write(0x0B, 0x04);
        Assert.Equal((11 | 0x80, 59), (Read(4), Read(2)));
        Write(0x0B, 0x00);
        Assert.Equal(0x11 | 0x80, Read(4));
        _board.Pass(2 * Board.Second);
        Assert.Equal(0x12, Read(4));
    }

    [Fact]
    public void Update_in_progress_comes_just_before_the_second()
    {
        _board.Pass(Board.Second - 300 * Board.Microsecond);
        Assert.Equal(0x26, Read(0x0A));
        _board.Pass(100 * Board.Microsecond);
        Assert.Equal(0xA6, Read(0x0A));
        _board.Pass(200 * Board.Microsecond);
        Assert.Equal(0x26, Read(0x0A));
    }

    [Fact]
    public void The_set_bit_stops_the_clock_until_the_new_time_is_in()
    {
        Write(0x0B, 0x82);
        _board.Pass(5 * Board.Second);
        Assert.Equal("2024-02-29 23:59:58", Now());
        Write(9, 0x31);
        Write(8, 0x12);
        Write(7, 0x24);
        Write(4, 0x18);
        Write(2, 0x00);
        Write(0, 0x10);
        Write(0x0B, 0x02);
        _board.Pass(3 * Board.Second);
        Assert.Equal("2031-12-24 18:00:13", Now());
    }

    [Fact]
    public void Nonsense_for_a_date_leaves_the_clock_alone()
    {
        Write(0x0B, 0x82);
        Write(8, 0xFF);
        Write(7, 0x00);
        Write(0x0B, 0x02);
        Assert.Equal("2024-02-29 23:59:58", Now());
    }

    [Fact]
    public void Update_ended_interrupts_every_second()
    {
        Write(0x0B, 0x12);
        for (var i = 0; i < 3; i++)
        {
            Assert.False(_irq8.Level);
            _board.Run(Board.Second);
            Assert.True(_irq8.Level);
            Assert.Equal(0x90, Read(0x0C) & 0xDF);
            Assert.Equal(0, Read(0x0C));
        }
    }

    [Fact]
    public void The_alarm_goes_off_at_its_time()
    {
        Write(1, 0x01);
        Write(3, 0x00);
        Write(5, 0xC0);
        Write(0x0B, 0x22);
        _board.Run(2 * Board.Second);
        Assert.False(_irq8.Level);
        _board.Run(Board.Second);
        Assert.True(_irq8.Level);
        Assert.Equal(0xB0, Read(0x0C));
    }

    [Fact]
    public void The_periodic_interrupt_has_the_programmed_rate()
    {
        Write(0x0B, 0x42);
        var interrupts = 0;
        for (var i = 0; i < 1000; i++)
        {
            _board.Run(Board.Millisecond / 4);
            if ((Read(0x0C) & 0x40) != 0)
                interrupts++;
        }

        Assert.InRange(interrupts, 255, 257);
        Write(0x0B, 0x02);
        Assert.Equal(MachineClock.Never, _board.Clock.Deadlines.NextDeadline);
    }

    [Fact]
    public void Memory_sizes_are_where_firmware_looks()
    {
        Assert.Equal(640, Read(0x15) | Read(0x16) << 8);
        Assert.Equal(0xFFFF, Read(0x17) | Read(0x18) << 8);
        Assert.Equal(((3 << 10) - 16) * 16, Read(0x34) | Read(0x35) << 8);
        Assert.Equal(0x4000, Read(0x5B) | Read(0x5C) << 8 | Read(0x5D) << 16);
        Write(0x40, 0x5A);
        Assert.Equal(0x5A, Read(0xC0));
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        Write(0x0B, 0x52);
        Write(9, 0x30);
        Write(0x40, 0x77);
        var state = _rtc.Save();
        var copy = new Rtc(_board.Clock, _board.Interrupts.CreateIsaLine(8), 0, 0);
        copy.Restore(state);
        var again = copy.Save();
        Assert.Equal(state.Cmos, again.Cmos);
        Assert.Equal(state with { Cmos = again.Cmos }, again);
        Assert.Throws<InvalidDataException>(() => copy.Restore(state with { Offset = long.MinValue }));
        Assert.Throws<InvalidDataException>(() => copy.Restore(state with { Cmos = [] }));
    }
}
