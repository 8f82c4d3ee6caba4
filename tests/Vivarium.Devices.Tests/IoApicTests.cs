namespace Vivarium.Devices.Tests;

public class IoApicTests
{
    private const uint Level = 1 << 15;
    private const uint Masked = 1 << 16;
    private const uint RemoteIrr = 1 << 14;

    private readonly Board _board = new();

    public IoApicTests() => _board.EnableApic();

    [Fact]
    public void It_says_what_it_is()
    {
        Assert.Equal(0x0017_0020u, _board.ReadIoApic(1));
        _board.WriteIoApic(0, 0x0500_0000);
        Assert.Equal(0x0500_0000u, _board.ReadIoApic(0));
        for (var pin = 0; pin < IoApic.Pins; pin++)
            Assert.Equal(Masked, _board.ReadIoApic((byte)(0x10 + 2 * pin)));
        Assert.Equal(0u, _board.ReadIoApic(0xFF));
    }

    [Fact]
    public void Isa_interrupt_0_arrives_at_pin_2()
    {
        _board.Redirect(2, 0x30);
        _board.Interrupts.CreateIsaLine(0).Pulse();
        Assert.Equal(0x30, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void A_level_comes_again_until_its_line_falls()
    {
        _board.Redirect(9, 0x40 | Level);
        var line = _board.Interrupts.CreateIsaLine(9);
        line.Raise();
        Assert.Equal(0x40, _board.Apic.AcknowledgeInterrupt());
        Assert.Equal(0x40 | Level | RemoteIrr, _board.ReadIoApic(0x22));
        Assert.False(_board.Apic.HasInterrupt);
        _board.EndOfInterrupt();
        Assert.Equal(0x40, _board.Apic.AcknowledgeInterrupt());
        line.Lower();
        _board.EndOfInterrupt();
        Assert.False(_board.Apic.HasInterrupt);
        Assert.Equal(0x40 | Level, _board.ReadIoApic(0x22));
    }

    [Fact]
    public void An_edge_comes_once_and_not_at_all_while_masked()
    {
        _board.Redirect(4, 0x41 | Masked);
        var line = _board.Interrupts.CreateIsaLine(4);
        line.Raise();
        _board.Redirect(4, 0x41);
        Assert.False(_board.Apic.HasInterrupt);
        line.Lower();
        line.Raise();
        Assert.Equal(0x41, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        Assert.False(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void Unmasking_delivers_a_level_that_waits()
    {
        _board.Redirect(16, 0x50 | Level | Masked);
        _board.Interrupts.CreateIoApicLine(16).Raise();
        Assert.False(_board.Apic.HasInterrupt);
        _board.Redirect(16, 0x50 | Level);
        Assert.Equal(0x50, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void Two_devices_share_a_level()
    {
        _board.Redirect(17, 0x51 | Level);
        InterruptLine one = _board.Interrupts.CreateIoApicLine(17), two = _board.Interrupts.CreateIoApicLine(17);
        one.Raise();
        two.Raise();
        Assert.Equal(0x51, _board.Apic.AcknowledgeInterrupt());
        one.Lower();
        _board.EndOfInterrupt();
        Assert.Equal(0x51, _board.Apic.AcknowledgeInterrupt());
        two.Lower();
        _board.EndOfInterrupt();
        Assert.False(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void The_eoi_register_clears_remote_irr()
    {
        _board.Redirect(9, 0x40 | Level);
        var line = _board.Interrupts.CreateIsaLine(9);
        line.Raise();
        line.Lower();
        _board.Mmio.Write(IoApic.DefaultAddress + 0x40, 4, 0x40);
        Assert.Equal(0x40 | Level, _board.ReadIoApic(0x22));
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        _board.Redirect(9, 0x40 | Level);
        _board.Interrupts.CreateIsaLine(9).Raise();
        var state = _board.Interrupts.IoApic.Save();
        var copy = new Board();
        copy.Interrupts.IoApic.Restore(state);
        Assert.Equal(0x40 | Level | RemoteIrr, copy.ReadIoApic(0x22));
        Assert.Equal(state.Redirection, copy.Interrupts.IoApic.Save().Redirection);
        Assert.Throws<InvalidDataException>(() => copy.Interrupts.IoApic.Restore(state with { Redirection = new ulong[3] }));
    }
}
