namespace Vivarium.Devices.Tests;

public class AcpiPmTests
{
    private readonly Board _board = new();
    private readonly InterruptLine _sci;
    private readonly AcpiPm _pm;

    public AcpiPmTests()
    {
        _sci = _board.Interrupts.CreateIsaLine(AcpiPm.SciIrq);
        _pm = new AcpiPm(_board.Clock, _sci);
        _pm.Map(_board.Ports);
    }

    [Fact]
    public void The_timer_has_its_frequency()
    {
        Assert.Equal(0u, _board.Ports.Read(0x608, 4));
        _board.Pass(Board.Second);
        Assert.Equal(3_579_545u, _board.Ports.Read(0x608, 4));
        Assert.Equal(3_579_545 >> 8 & 0xFF, _board.In(0x609));
    }

    [Fact]
    public void The_machine_is_in_acpi_mode()
    {
        Assert.Equal(1u, _board.Ports.Read(0x604, 2));
        _board.Ports.Write(0x604, 2, 0);
        Assert.Equal(1u, _board.Ports.Read(0x604, 2));
    }

    [Fact]
    public void S5_switches_off_and_other_sleep_states_do_not()
    {
        var off = 0;
        _pm.PowerOff = () => off++;
        _board.Ports.Write(0x604, 2, AcpiPm.SleepTypeS5 << 10);
        _board.Ports.Write(0x604, 2, 3 << 10 | 1 << 13);
        Assert.Equal(0, off);
        _board.Ports.Write(0x604, 2, AcpiPm.SleepTypeS5 << 10 | 1 << 13);
        Assert.Equal(1, off);
        Assert.Equal((AcpiPm.SleepTypeS5 << 10) | 1u, _board.Ports.Read(0x604, 2));
    }

    [Fact]
    public void The_power_button_raises_the_sci_until_it_is_cleared()
    {
        _board.Ports.Write(0x602, 2, 1 << 8);
        _pm.PressPowerButton();
        Assert.True(_sci.Level);
        Assert.Equal(1u << 8, _board.Ports.Read(0x600, 2));
        _board.Ports.Write(0x600, 2, 1 << 8);
        Assert.False(_sci.Level);
    }

    [Fact]
    public void The_timer_status_follows_its_highest_bit()
    {
        _board.Ports.Write(0x602, 2, 1);
        _board.Run(599 * Board.Second);
        Assert.False(_sci.Level);
        _board.Run(Board.Second);
        Assert.True(_sci.Level);
        _board.Ports.Write(0x600, 2, 1);
        Assert.False(_sci.Level);
    }

    [Fact]
    public void General_purpose_events_raise_the_sci()
    {
        _board.Ports.Write(AcpiPm.GpeBase + 2, 1, 0x04);
        _pm.RaiseGpe(3);
        Assert.False(_sci.Level);
        _pm.RaiseGpe(2);
        Assert.True(_sci.Level);
        Assert.Equal(0x0Cu, _board.Ports.Read(AcpiPm.GpeBase, 1));
        _board.Ports.Write(AcpiPm.GpeBase, 1, 0xFF);
        Assert.False(_sci.Level);
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        _board.Ports.Write(0x602, 2, 0x100);
        _pm.PressPowerButton();
        var state = _pm.Save();
        var line = _board.Interrupts.CreateIsaLine(9);
        var copy = new AcpiPm(_board.Clock, line);
        copy.Restore(state);
        Assert.True(line.Level);
        Assert.Equal(state, copy.Save());
        Assert.Throws<InvalidDataException>(() => copy.Restore(state with { Version = 0 }));
    }
}
