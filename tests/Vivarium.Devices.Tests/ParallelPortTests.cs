namespace Vivarium.Devices.Tests;

/// <summary>The port as systems look for it and as they print (PC/AT Technical Reference, "Printer Adapter").</summary>
public sealed class ParallelPortTests
{
    private readonly Board _board = new();
    private readonly ParallelPort _port = new();

    public ParallelPortTests() => _port.Map(_board.Ports);

    [Theory]
    [InlineData(0x55)]
    [InlineData(0xAA)]
    public void The_data_latch_says_that_it_is_there(byte value)
    {
        _board.Out(0x378, value);
        Assert.Equal(value, _board.In(0x378));
        Assert.Equal(0xFF, _board.In(0x77A));
    }

    [Fact]
    public void The_printer_is_not_busy_and_out_of_paper_and_the_port_no_EPP()
    {
        Assert.Equal(0xE7, _board.In(0x379));

        // Systems try to clear the time-out of an EPP port; where they cannot, there is none.
        _board.Out(0x379, 1);
        _board.Out(0x379, 0);
        Assert.Equal(0xE7, _board.In(0x379));
    }

    [Fact]
    public void Control_keeps_its_five_signals_and_no_direction()
    {
        Assert.Equal(0xEC, _board.In(0x37A));
        _board.Out(0x37A, 0xFF);
        Assert.Equal(0xFF, _board.In(0x37A));
        _board.Out(0x37A, 0x20);
        Assert.Equal(0xE0, _board.In(0x37A));

        // Data lines stay outputs.
        _board.Out(0x378, 0x5A);
        Assert.Equal(0x5A, _board.In(0x378));
    }

    [Fact]
    public void Its_state_goes_on_in_another_port()
    {
        _board.Ports.Write(0x378, 2, 0x1234);
        _board.Out(0x37A, 0x11);
        var other = new Board();
        var port = new ParallelPort();
        port.Map(other.Ports);
        port.Restore(_port.Save());
        Assert.Equal(0x34, other.In(0x378));
        Assert.Equal(0xF1, other.In(0x37A));
    }
}
