using System.Text;

namespace Vivarium.Devices.Tests;

public class Uart16550Tests
{
    private const ushort Data = 0x3F8;
    private const ushort Ier = 0x3F9;
    private const ushort Iir = 0x3FA;
    private const ushort Fcr = 0x3FA;
    private const ushort Lcr = 0x3FB;
    private const ushort Mcr = 0x3FC;
    private const ushort Lsr = 0x3FD;
    private const ushort Msr = 0x3FE;
    private const ushort Scr = 0x3FF;

    private sealed class Output : ISerialBackend
    {
        public List<byte> Bytes { get; } = [];

        public void Write(ReadOnlySpan<byte> bytes) => Bytes.AddRange(bytes);
    }

    private readonly Board _board = new();
    private readonly Output _output = new();
    private readonly InterruptLine _irq;
    private readonly Uart16550 _uart;

    public Uart16550Tests()
    {
        _irq = _board.Interrupts.CreateIsaLine(Uart16550.Com1Irq);
        _uart = new Uart16550(_irq, _output);
        _uart.Map(_board.Ports, Uart16550.Com1, "COM1");
    }

    private byte In(ushort port) => _board.In(port);

    private void Out(ushort port, byte value) => _board.Out(port, value);

    private int Type(string text) => _uart.Receive(Encoding.ASCII.GetBytes(text));

    [Fact]
    public void Probing_finds_a_16550a()
    {
        Out(Ier, 0);
        Assert.Equal(0, In(Ier));
        Out(Ier, 0xFF);
        Assert.Equal(0x0F, In(Ier));
        Out(Ier, 0);
        Out(Scr, 0xA5);
        Assert.Equal(0xA5, In(Scr));
        Out(Mcr, 0x1A);
        Assert.Equal(0x90, In(Msr) & 0xF0);
        Out(Mcr, 0);
        Out(Fcr, 0x01);
        Assert.Equal(0xC0, In(Iir) & 0xE0);
        Out(Fcr, 0);
        Assert.Equal(0x01, In(Iir));
        Out(Lcr, 0x83);
        Out(Data, 0x01);
        Out(Ier, 0x02);
        Assert.Equal((0x01, 0x02), (In(Data), In(Ier)));
        Out(Lcr, 0x03);
        Assert.Equal(0, In(Ier));
    }

    [Fact]
    public void Output_goes_to_the_backend_and_the_transmitter_is_empty_again()
    {
        foreach (var c in "hello"u8)
        {
            Assert.Equal(0x60, In(Lsr));
            Out(Data, c);
        }

        Assert.Equal("hello"u8, _output.Bytes.ToArray());
    }

    [Fact]
    public void Enabling_the_transmitter_interrupt_while_it_is_empty_raises_it_every_time()
    {
        Out(Mcr, 0x08);
        Out(Ier, 0x02);
        Assert.True(_irq.Level);
        Assert.Equal(0x02, In(Iir));
        Assert.False(_irq.Level);
        Assert.Equal(0x01, In(Iir));
        Out(Ier, 0);
        Out(Ier, 0x02);
        Assert.Equal(0x02, In(Iir));
        Out(Data, (byte)'x');
        Assert.True(_irq.Level);
    }

    [Fact]
    public void Out2_and_loopback_gate_the_interrupt()
    {
        Out(Ier, 0x02);
        Assert.False(_irq.Level);
        Out(Mcr, 0x08);
        Assert.True(_irq.Level);
        Out(Mcr, 0x18);
        Assert.False(_irq.Level);
    }

    [Fact]
    public void Interrupts_are_named_in_the_order_of_their_priority()
    {
        Out(Mcr, 0x18);
        Out(Ier, 0x0F);
        Out(Data, 1);
        Out(Data, 2);
        Out(Mcr, 0x1B);
        Assert.Equal(0x06, In(Iir));
        Assert.Equal(0x63, In(Lsr));
        Assert.Equal(0x04, In(Iir));
        Assert.Equal(2, In(Data));
        Assert.Equal(0x02, In(Iir));
        Assert.Equal(0x00, In(Iir));
        Assert.Equal(0xB3 & 0xF3, In(Msr) | 0x80);
        Assert.Equal(0x01, In(Iir));
    }

    [Fact]
    public void The_trigger_level_tells_received_data_from_a_time_out()
    {
        Out(Fcr, 0x81);
        Out(Ier, 0x01);
        Type("1234567");
        Assert.Equal(0xCC, In(Iir));
        for (var i = 0; i < 7; i++)
            In(Data);
        Type("12345678");
        Assert.Equal(0xC4, In(Iir));
        In(Data);
        Assert.Equal(0xCC, In(Iir));
    }

    [Fact]
    public void Everything_pasted_arrives()
    {
        var sent = new byte[100_000];
        new Random(1).NextBytes(sent);
        Out(Fcr, 0xC7);
        Out(Mcr, 0x0B);
        Out(Ier, 0x01);
        var given = _uart.Receive(sent);
        Assert.InRange(given, 1, sent.Length - 1);
        _uart.ReceiveReady = () => given += _uart.Receive(sent.AsSpan(given));
        var received = new List<byte>();
        while ((In(Lsr) & 1) != 0)
            received.Add(In(Data));
        Assert.Equal(sent, received);
        Assert.False(_irq.Level);
    }

    [Fact]
    public void Each_load_of_the_fifo_is_an_edge_for_the_controller()
    {
        _board.EnableApic();
        _board.Redirect(4, 0x44);
        Out(Fcr, 0x01);
        Out(Mcr, 0x0B);
        Out(Ier, 0x01);
        Type(new string('x', 40));
        for (var load = 0; load < 3; load++)
        {
            Assert.Equal(0x44, _board.Apic.AcknowledgeInterrupt());
            for (var i = 0; i < 16; i++)
                In(Data);
            _board.EndOfInterrupt();
        }
    }

    [Fact]
    public void What_is_typed_before_the_port_is_opened_waits()
    {
        Type("uname -a\n");

        // What Linux does between probing and the first interrupt: console output, clearing, reading to get rid of old bytes.
        foreach (var c in "Linux version"u8)
        {
            In(Lsr);
            Out(Data, c);
        }

        Out(Fcr, 0x01);
        Out(Fcr, 0x07);
        Out(Fcr, 0x00);
        In(Lsr);
        In(Data);
        In(Iir);
        In(Msr);
        Out(Lcr, 0x03);
        Out(Mcr, 0x08);
        Out(Ier, 0x05);
        Out(Fcr, 0x01);
        Out(Fcr, 0x81);
        Out(Mcr, 0x0B);
        var received = new StringBuilder();
        while ((In(Lsr) & 1) != 0)
            received.Append((char)In(Data));
        Assert.Equal("uname -a\n", received.ToString());
    }

    [Fact]
    public void A_guest_that_polls_gets_input_without_interrupts()
    {
        Type("ok");
        var polls = 0;
        while ((In(Lsr) & 1) == 0)
            Assert.True(++polls < 100);
        Assert.Equal((byte)'o', In(Data));
        Assert.Equal(0x61, In(Lsr));
        Assert.Equal((byte)'k', In(Data));
        Assert.Equal(0x60, In(Lsr));
    }

    /// <summary>As SeaBIOS's console on a host that lets it look for input only a few times between two seconds of a menu's countdown.</summary>
    [Fact]
    public void A_guest_that_speaks_between_its_polls_gets_input_too()
    {
        Type("c");
        var rounds = 0;
        while (true)
        {
            foreach (var letter in "automatically in 30s."u8)
            {
                Assert.Equal(0x60, In(Lsr));
                Out(Data, letter);
            }

            if (((In(Lsr) | In(Lsr)) & 1) != 0)
                break;
            Assert.True(++rounds < 20);
        }

        Assert.Equal((byte)'c', In(Data));
    }

    [Fact]
    public void Waiting_for_the_transmitter_is_no_poll_for_input()
    {
        Type("c");
        for (var i = 0; i < 1000; i++)
        {
            Assert.Equal(0x60, In(Lsr));
            Out(Data, (byte)'x');
        }
    }

    [Fact]
    public void Dropping_rts_stops_input()
    {
        Out(Mcr, 0x0B);
        Out(Ier, 0x01);
        Out(Mcr, 0x09);
        Type("x");
        Assert.False(_irq.Level);
        Assert.Equal(0x60, In(Lsr));
        Out(Mcr, 0x0B);
        Assert.True(_irq.Level);
        Assert.Equal(0x61, In(Lsr));
    }

    [Fact]
    public void Loopback_overruns_and_keeps_away_from_the_backend()
    {
        Out(Fcr, 0x01);
        Out(Mcr, 0x10);
        for (byte i = 0; i < 17; i++)
            Out(Data, i);
        Assert.Equal(0x63, In(Lsr));
        Assert.Equal(0x61, In(Lsr));
        for (byte i = 0; i < 16; i++)
            Assert.Equal(i, In(Data));
        Assert.Empty(_output.Bytes);
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        Out(Fcr, 0x81);
        Out(Mcr, 0x0B);
        Out(Ier, 0x03);
        Type(new string('a', 20));
        var state = _uart.Save();
        var copy = new Board();
        var line = copy.Interrupts.CreateIsaLine(4);
        var uart = new Uart16550(line, null);
        uart.Restore(state);
        Assert.True(line.Level);
        var again = uart.Save();
        Assert.Equal(state.Received, again.Received);
        Assert.Equal(state.Waiting, again.Waiting);
        Assert.Equal(state with { Received = again.Received, Waiting = again.Waiting }, again);
        Assert.Throws<InvalidDataException>(() => uart.Restore(state with { Received = new byte[17] }));
    }

    /// <summary>COM1 and COM3: the line is high until neither wants anything, and its next edge comes after that.</summary>
    [Fact]
    public void Two_ports_share_an_interrupt()
    {
        const byte vector = 0x40;
        var other = new Uart16550(_board.Interrupts.CreateIsaLine(Uart16550.Com3Irq), new Output());
        other.Map(_board.Ports, Uart16550.Com3, "COM3");
        _board.EnableApic();
        _board.Redirect(4, vector);
        foreach (var first in new[] { Uart16550.Com1, Uart16550.Com3 })
        {
            Out((ushort)(first + 4), 0x0B);
            Out((ushort)(first + 1), 0x01);
        }

        Type("a");
        Assert.Equal(vector, _board.Apic.AcknowledgeInterrupt());
        _board.EndOfInterrupt();
        other.Receive("b"u8);
        Assert.Equal(0x04, In(Iir) & 0x0F);
        Assert.Equal((byte)'a', In(Data));

        // The handler that looks at each port until both are quiet has found this one too; the line has been high all the time.
        Assert.NotEqual(vector, _board.Apic.AcknowledgeInterrupt());
        Assert.Equal(0x04, In(Uart16550.Com3 + 2) & 0x0F);
        Assert.Equal((byte)'b', In(Uart16550.Com3));
        other.Receive("c"u8);
        Assert.Equal(vector, _board.Apic.AcknowledgeInterrupt());
        Assert.Equal(0x01, In(Iir) & 0x0F);
    }
}
