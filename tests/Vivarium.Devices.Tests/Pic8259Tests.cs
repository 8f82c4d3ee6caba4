namespace Vivarium.Devices.Tests;

public class Pic8259Tests
{
    private readonly Board _board = new();

    private InterruptLine Line(int irq) => _board.Interrupts.CreateIsaLine(irq);

    [Fact]
    public void The_mask_can_be_read_back_as_probing_does()
    {
        _board.Out(0xA1, 0xFF);
        _board.Out(0x21, 0xFB);
        Assert.Equal(0xFB, _board.In(0x21));
        Assert.Equal(0xFF, _board.In(0xA1));
    }

    [Fact]
    public void A_slave_interrupt_goes_through_the_cascade()
    {
        _board.InitializePic();
        Line(12).Raise();
        Assert.True(_board.Apic.HasInterrupt);
        Assert.Equal(0x2C, _board.Apic.AcknowledgeInterrupt());
        _board.Out(0x20, 0x0B);
        _board.Out(0xA0, 0x0B);
        Assert.Equal(0x04, _board.In(0x20));
        Assert.Equal(0x10, _board.In(0xA0));
        Assert.Equal(-1, _board.Apic.AcknowledgeInterrupt());
        _board.Out(0xA0, 0x20);
        _board.Out(0x20, 0x20);
        Assert.Equal(0, _board.In(0x20) | _board.In(0xA0));
    }

    [Fact]
    public void A_higher_priority_interrupts_a_lower_one_and_not_the_other_way()
    {
        _board.InitializePic();
        Line(5).Raise();
        Assert.Equal(0x25, _board.Apic.AcknowledgeInterrupt());
        Line(6).Raise();
        Assert.False(_board.Apic.HasInterrupt);
        Line(1).Raise();
        Assert.Equal(0x21, _board.Apic.AcknowledgeInterrupt());
        _board.Out(0x20, 0x20);
        Assert.False(_board.Apic.HasInterrupt);
        _board.Out(0x20, 0x65);
        Assert.Equal(0x26, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void A_level_that_falls_before_the_acknowledge_is_spurious()
    {
        _board.InitializePic();
        _board.Out(0x4D1, 0x0C);
        Assert.Equal(0x0C, _board.In(0x4D1));
        var line = Line(10);
        line.Raise();
        Assert.True(_board.Interrupts.Pic.Output);
        line.Lower();
        Assert.False(_board.Interrupts.Pic.Output);
        Assert.Equal(-1, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void A_level_that_stays_comes_again_after_the_end_of_interrupt_and_an_edge_does_not()
    {
        _board.InitializePic();
        _board.Out(0x4D1, 0x04);
        Line(10).Raise();
        Line(11).Raise();
        Assert.Equal(0x2A, _board.Apic.AcknowledgeInterrupt());
        _board.Out(0xA0, 0x20);
        _board.Out(0x20, 0x20);
        Assert.Equal(0x2A, _board.Apic.AcknowledgeInterrupt());
        _board.Out(0xA1, 0x04);
        _board.Out(0xA0, 0x20);
        _board.Out(0x20, 0x20);
        Assert.Equal(0x2B, _board.Apic.AcknowledgeInterrupt());
        _board.Out(0xA0, 0x20);
        _board.Out(0x20, 0x20);
        Assert.False(_board.Apic.HasInterrupt);
    }

    [Fact]
    public void Polling_acknowledges_and_names_the_input()
    {
        _board.InitializePic();
        Line(3).Raise();
        _board.Out(0x20, 0x0C);
        Assert.Equal(0x83, _board.In(0x20));
        _board.Out(0x20, 0x0C);
        Assert.Equal(0x00, _board.In(0x20));
    }

    [Fact]
    public void Rotation_makes_the_served_input_the_lowest()
    {
        _board.InitializePic();
        Line(3).Raise();
        Assert.Equal(0x23, _board.Apic.AcknowledgeInterrupt());
        _board.Out(0x20, 0xA0);
        var three = Line(3);
        Line(3).Lower();
        Line(7).Raise();
        three.Pulse();
        Assert.Equal(0x27, _board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void Automatic_end_of_interrupt_leaves_nothing_in_service()
    {
        _board.InitializePic();
        _board.Out(0x20, 0x11);
        _board.Out(0x21, 0x20);
        _board.Out(0x21, 0x04);
        _board.Out(0x21, 0x03);
        Line(0).Raise();
        Assert.Equal(0x20, _board.Apic.AcknowledgeInterrupt());
        _board.Out(0x20, 0x0B);
        Assert.Equal(0, _board.In(0x20));
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        _board.InitializePic(0x10, 0x20);
        Line(1).Raise();
        _board.Apic.AcknowledgeInterrupt();
        Line(12).Raise();
        var state = _board.Interrupts.Pic.Save();
        var copy = new Board();
        copy.Interrupts.Pic.Restore(state);
        copy.Apic.EnterVirtualWireMode();
        Assert.Equal(state.Chips, copy.Interrupts.Pic.Save().Chips);
        copy.Out(0x20, 0x20);
        Assert.Equal(0x2C, copy.Apic.AcknowledgeInterrupt());
        Assert.Throws<InvalidDataException>(() => copy.Interrupts.Pic.Restore(new Pic8259State()));
    }
}
