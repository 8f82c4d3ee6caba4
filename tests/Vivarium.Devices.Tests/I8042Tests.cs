namespace Vivarium.Devices.Tests;

public class I8042Tests
{
    private readonly Board _board = new();
    private readonly InterruptLine _irq1;
    private readonly InterruptLine _irq12;
    private readonly I8042 _controller;
    private int _resets;

    public I8042Tests()
    {
        _irq1 = _board.Interrupts.CreateIsaLine(I8042.KeyboardIrq);
        _irq12 = _board.Interrupts.CreateIsaLine(I8042.AuxiliaryIrq);
        _controller = new I8042(_irq1, _irq12, new A20Gate()) { ResetRequested = () => _resets++ };
        _controller.Map(_board.Ports);
    }

    private byte Status => _board.In(0x64);

    private void Command(byte command, params byte[] data)
    {
        _board.Out(0x64, command);
        foreach (var value in data)
            _board.Out(0x60, value);
    }

    private byte Answer()
    {
        Assert.Equal(1, Status & 1);
        return _board.In(0x60);
    }

    [Fact]
    public void Probing_finds_the_controller()
    {
        Assert.Equal(0, Status & 3);
        Command(0xAA);
        Assert.Equal(0x55, Answer());
        Assert.Equal(4, Status & 4);
        Command(0x20);
        var commandByte = Answer();
        Command(0x60, (byte)(commandByte | 0x10));
        Command(0x20);
        Assert.Equal(commandByte | 0x10, Answer());
        Command(0xAB);
        Assert.Equal(0, Answer());
        Assert.Equal(0, Status & 1);
    }

    [Fact]
    public void The_auxiliary_port_loops_back_with_its_interrupt()
    {
        Command(0x60, 0x47);
        Command(0xD3, 0x5A);
        Assert.Equal(0x21, Status & 0x21);
        Assert.True(_irq12.Level);
        Assert.False(_irq1.Level);
        Assert.Equal(0x5A, Answer());
        Assert.False(_irq12.Level);
        Command(0xA9);
        Assert.Equal(0, Answer());
        Command(0xA7);
        Command(0x20);
        Assert.Equal(0x20, Answer() & 0x20);
        Command(0xA8);
        Command(0x20);
        Assert.Equal(0, Answer() & 0x20);
    }

    [Fact]
    public void A_device_that_is_not_there_times_out_at_once()
    {
        Command(0x60, 0x47);
        _board.Out(0x60, 0xF2);
        Assert.Equal(0x41, Status & 0x61);
        Assert.True(_irq1.Level);
        Assert.Equal(0xFE, Answer());
        Assert.False(_irq1.Level);
        Command(0xD4, 0xF2);
        Assert.Equal(0x61, Status & 0x61);
        Assert.Equal(0xFE, Answer());
    }

    [Fact]
    public void Pulsing_the_reset_line_resets()
    {
        Command(0xFF);
        Assert.Equal(0, _resets);
        Command(0xFE);
        Assert.Equal(1, _resets);
        Command(0xD0);
        var port = Answer();
        Assert.Equal(3, port & 3);
        Command(0xD1, (byte)(port & ~1));
        Assert.Equal(2, _resets);
    }

    [Fact]
    public void A_guest_that_never_reads_does_no_harm()
    {
        for (var i = 0; i < 1000; i++)
            Command(0x20);
        for (var i = 0; i < 100; i++)
            _board.In(0x60);
        Assert.Equal(0, Status & 1);
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        Command(0x60, 0x47);
        Command(0xD3, 0x5A);
        _board.Out(0x64, 0xD3);
        var state = _controller.Save();
        var line = _board.Interrupts.CreateIsaLine(12);
        var copy = new I8042(_board.Interrupts.CreateIsaLine(1), line, new A20Gate());
        copy.Restore(state);
        Assert.True(line.Level);
        Assert.Equal(state.Output, copy.Save().Output);
        Assert.Throws<InvalidDataException>(() => copy.Restore(state with { Output = new ushort[17] }));
    }
}
