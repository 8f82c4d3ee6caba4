namespace Vivarium.Devices.Tests;

public class Pit8254Tests
{
    private readonly Board _board = new();
    private readonly InterruptLine _irq0;
    private readonly Pit8254 _pit;

    public Pit8254Tests()
    {
        _irq0 = _board.Interrupts.CreateIsaLine(0);
        _pit = new Pit8254(_board.Clock, _irq0);
        _pit.Map(_board.Ports);
    }

    private void Program(int channel, byte control, int count)
    {
        _board.Out(0x43, control);
        _board.Out((ushort)(0x40 + channel), (byte)count);
        _board.Out((ushort)(0x40 + channel), (byte)(count >> 8));
    }

    private int Count(int channel)
    {
        _board.Out(0x43, (byte)(channel << 6));
        return _board.In((ushort)(0x40 + channel)) | _board.In((ushort)(0x40 + channel)) << 8;
    }

    [Fact]
    public void The_rate_generator_gives_a_hundred_interrupts_a_second()
    {
        _board.EnableApic();
        _board.Redirect(2, 0x30);
        Program(0, 0x34, 11932);
        var interrupts = 0;
        for (var i = 0; i < 1000; i++)
        {
            _board.Run(Board.Millisecond);
            if (_board.Apic.AcknowledgeInterrupt() != 0x30)
                continue;
            interrupts++;
            _board.EndOfInterrupt();
        }

        Assert.Equal(99, interrupts);
    }

    [Fact]
    public void The_software_strobe_fires_once_per_count()
    {
        _board.EnableApic();
        _board.Redirect(2, 0x30);
        Program(0, 0x38, 1193);
        _board.Run(900 * Board.Microsecond);
        Assert.False(_board.Apic.HasInterrupt);
        _board.Run(200 * Board.Microsecond);
        Assert.Equal(0x30, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        _board.Run(Board.Second);
        Assert.False(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void Calibration_sees_counter_2_end_at_port_61()
    {
        _board.Out(0x61, (byte)(_board.In(0x61) & ~2 | 1));
        Program(2, 0xB0, 59659);
        Assert.Equal(0, _board.In(0x61) & 0x20);
        _board.Pass(49 * Board.Millisecond);
        Assert.Equal(0, _board.In(0x61) & 0x20);
        _board.Pass(2 * Board.Millisecond);
        Assert.Equal(0x20, _board.In(0x61) & 0x20);
    }

    [Fact]
    public void Quick_calibration_sees_the_high_byte_count_down()
    {
        _board.Out(0x61, 1);
        Program(2, 0xB0, 0xFFFF);
        Assert.Equal(0xFF, _board.In(0x42));
        Assert.Equal(0xFF, _board.In(0x42));
        _board.Pass(256 * Board.Second / Pit8254.Frequency + 1000);
        _board.In(0x42);
        Assert.Equal(0xFE, _board.In(0x42));
    }

    [Fact]
    public void The_gate_stops_counter_2_and_lets_it_go_on()
    {
        _board.Out(0x61, 1);
        Program(2, 0xB0, 10000);
        _board.Pass(Board.Millisecond);
        _board.Out(0x61, 0);
        var stopped = Count(2);
        Assert.InRange(stopped, 10000 - 1200, 10000 - 1190);
        _board.Pass(Board.Second);
        Assert.Equal(stopped, Count(2));
        _board.Out(0x61, 1);
        _board.Pass(Board.Millisecond);
        Assert.InRange(Count(2), stopped - 1200, stopped - 1190);
    }

    [Fact]
    public void Read_back_latches_status_then_count()
    {
        Program(0, 0x34, 1000);
        _board.Pass(100 * Board.Microsecond);
        _board.Out(0x43, 0xC2);
        _board.Pass(300 * Board.Microsecond);
        Assert.Equal(0x80 | 0x34, _board.In(0x40));
        Assert.Equal(1000 - 119, _board.In(0x40) | _board.In(0x40) << 8);
        Assert.Equal(1000 - 477, _board.In(0x40) | _board.In(0x40) << 8);
        _board.Out(0x43, 0x34);
        _board.Out(0x43, 0xE2);
        Assert.Equal(0x80 | 0x40 | 0x34, _board.In(0x40));
    }

    [Fact]
    public void The_one_shot_waits_for_the_gate()
    {
        _board.Out(0x61, 0);
        Program(2, 0xB2, 1000);
        Assert.Equal(0x20, _board.In(0x61) & 0x20);
        _board.Out(0x61, 1);
        Assert.Equal(0, _board.In(0x61) & 0x20);
        _board.Pass(Board.Millisecond);
        Assert.Equal(0x20, _board.In(0x61) & 0x20);
    }

    [Fact]
    public void The_square_wave_counts_by_two_and_bcd_in_decimal()
    {
        Program(0, 0x36, 1000);
        _board.Pass(Board.Second * 100 / Pit8254.Frequency + 1);
        Assert.Equal(800, Count(0));
        Program(0, 0x31, 0x1000);
        _board.Pass(Board.Second * 1 / Pit8254.Frequency + 1);
        Assert.Equal(0x0999, Count(0));
    }

    [Fact]
    public void A_new_rate_takes_effect_at_the_end_of_the_period()
    {
        Program(0, 0x34, 11932);
        _board.Out(0x40, 1193 & 0xFF);
        _board.Out(0x40, 1193 >> 8);
        Assert.InRange(_board.Clock.Deadlines.NextDeadline, 9_999_000, 10_001_000);
        _board.Run(10_100 * Board.Microsecond);
        Assert.InRange(_board.Clock.Deadlines.NextDeadline, 10_999_000, 11_001_000);
    }

    [Fact]
    public void The_refresh_bit_toggles()
    {
        var before = _board.In(0x61) & 0x10;
        _board.Pass(15_085);
        Assert.NotEqual(before, _board.In(0x61) & 0x10);
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        Program(0, 0x38, 1193);
        Program(2, 0xB0, 5000);
        _board.Time.Nanoseconds += 2 * Board.Millisecond;
        var state = _pit.Save();
        Assert.True(state.EdgeDue);

        var copy = new Board();
        copy.Clock.Pause();
        copy.Clock.Restore(_board.Clock.Save());
        copy.Clock.Resume();
        copy.EnableApic();
        copy.Redirect(2, 0x30);
        var pit = new Pit8254(copy.Clock, copy.Interrupts.CreateIsaLine(0));
        pit.Restore(state);
        Assert.Equal(state.Channels, pit.Save().Channels);
        copy.Pass(0);
        Assert.Equal(0x30, copy.Apic.AcknowledgeInterrupt());
        Assert.Throws<InvalidDataException>(() => pit.Restore(state with { Channels = [new(), new(), new()] }));
    }
}
