using System.Text;

namespace Vivarium.Devices.Tests;

public sealed class VirtioConsoleTests : IDisposable
{
    private const ulong Size = 1;
    private const ulong Multiport = 2;

    private readonly VirtioMachine _machine = new();
    private readonly Sink _first = new();
    private readonly Sink _second = new();

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData(Transport.PciMsiX, false)]
    [InlineData(Transport.PciIntX, true)]
    [InlineData(Transport.Mmio, true)]
    public void One_port_carries_bytes_both_ways(Transport transport, bool packed)
    {
        var port = new VirtioConsolePort(_first);
        var driver = _machine.Plug(new VirtioConsole(_machine.Memory, port), transport);
        Assert.Equal(0ul, driver.DeviceFeatures & Multiport);

        // What comes before the guest has buffers waits.
        Assert.Equal(2, port.Receive("hi"u8));
        var rings = driver.Begin(Size | VirtioFeatures.EventIdx | (packed ? VirtioFeatures.RingPacked : 0), 8, 8);
        var buffer = _machine.Allocate(16);
        rings[0].Add(new Piece(buffer, 16, true));
        Assert.True(rings[0].Kick());
        Assert.True(rings[0].TryTake(out _, out var written));
        Assert.Equal("hi", Encoding.ASCII.GetString(_machine.Get(buffer, (int)written)));

        rings[1].Run(new Piece(_machine.Put("hello "u8), 6, false), new Piece(_machine.Put("there"u8), 5, false));
        Assert.Equal("hello there", _first.Text);
    }

    [Fact]
    public void More_input_than_fits_waits_and_is_asked_for_again()
    {
        var asked = 0;
        var port = new VirtioConsolePort(null) { ReceiveReady = () => asked++ };
        var driver = _machine.Plug(new VirtioConsole(_machine.Memory, port), Transport.PciMsiX);
        var ring = driver.Begin(0, 8, 8)[0];
        var input = new byte[20000];
        new Random(1).NextBytes(input);
        var taken = port.Receive(input);
        Assert.Equal(16384, taken);
        var got = new List<byte>();
        while (got.Count < input.Length)
        {
            var buffer = _machine.Allocate(4096);
            ring.Add(new Piece(buffer, 4096, true));
            ring.Kick();
            if (taken < input.Length)
            {
                Assert.Equal(1, asked);
                taken += port.Receive(input.AsSpan(taken));
            }

            Assert.True(ring.TryTake(out _, out var written));
            got.AddRange(_machine.Get(buffer, (int)written));
        }

        Assert.Equal(input, got);
        Assert.Equal(1, asked);
    }

    [Fact]
    public void The_size_is_in_the_configuration()
    {
        var device = new VirtioConsole(_machine.Memory, new VirtioConsolePort(null));
        var driver = _machine.Plug(device, Transport.PciMsiX);
        driver.Begin(Size, 8, 8);
        device.Resize(132, 43);
        Assert.Equal(132u, driver.ReadConfig(0, 2));
        Assert.Equal(43u, driver.ReadConfig(2, 2));
        Assert.Equal(VirtioDriver.ConfigVector, driver.TakeInterrupt());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Several_ports_introduce_themselves(bool packed)
    {
        var opened = new List<bool>();
        var console = new VirtioConsolePort(_first);
        var agent = new VirtioConsolePort(_second, "org.example.agent", isConsole: false) { GuestOpened = opened.Add };
        var device = new VirtioConsole(_machine.Memory, console, agent);
        device.Resize(80, 25);
        var driver = _machine.Plug(device, Transport.PciMsiX);
        Assert.Equal(2u, driver.ReadConfig(4, 4));
        var rings = driver.Begin(Size | Multiport | (packed ? VirtioFeatures.RingPacked : 0), 16, 16, 16, 16, 16, 16);
        var messages = Listen(rings[2], 12);

        Control(rings[3], 0, 0, 1);
        Assert.Equal(["0 add 0", "1 add 0"], messages());
        Control(rings[3], 0, 3, 1);
        Assert.Equal(["0 console 1", "0 resize 80x25", "0 open 1"], messages());
        Control(rings[3], 1, 3, 1);
        Assert.Equal(["1 name org.example.agent", "1 open 1"], messages());

        // A port takes input once somebody in the guest has opened it.
        var buffer = _machine.Allocate(16);
        rings[4].Add(new Piece(buffer, 16, true));
        rings[4].Kick();
        agent.Receive("ping"u8);
        Assert.False(rings[4].TryTake(out _, out _));
        Control(rings[3], 1, 6, 1);
        Assert.Equal([true], opened);
        Assert.True(rings[4].TryTake(out _, out var written));
        Assert.Equal("ping", Encoding.ASCII.GetString(_machine.Get(buffer, (int)written)));
        rings[5].Run(new Piece(_machine.Put("pong"u8), 4, false));
        Assert.Equal("pong", _second.Text);
        Assert.Equal("", _first.Text);

        device.Resize(100, 30);
        Assert.Equal(["0 resize 100x30"], messages());
        Control(rings[3], 1, 6, 0);
        Assert.Equal([true, false], opened);

        // Nonsense does nothing.
        Control(rings[3], 7, 3, 1);
        Control(rings[3], uint.MaxValue, 6, 1);
        Control(rings[3], 0, 99, 1);
        rings[3].Run(new Piece(_machine.Put([1]), 1, false));
        Assert.Empty(messages());
        Assert.Equal(0, driver.Status & VirtioDriver.NeedsReset);
    }

    [Fact]
    public void Control_messages_wait_for_buffers()
    {
        var driver = _machine.Plug(new VirtioConsole(_machine.Memory, new VirtioConsolePort(null), new VirtioConsolePort(null)), Transport.PciMsiX);
        var rings = driver.Begin(Multiport | VirtioFeatures.EventIdx, 16, 16, 16, 16);
        Control(rings[3], 0, 0, 1);
        Assert.Equal(["0 add 0", "1 add 0"], Listen(rings[2], 3)());
    }

    [Fact]
    public void Buffers_that_cannot_be_written_break_the_device()
    {
        var port = new VirtioConsolePort(null);
        var driver = _machine.Plug(new VirtioConsole(_machine.Memory, port), Transport.PciMsiX);
        var ring = driver.Begin(0, 8, 8)[0];
        ring.Add(new Piece(_machine.Allocate(16), 16, false));
        ring.Kick();
        port.Receive("x"u8);
        Assert.NotEqual(0, driver.Status & VirtioDriver.NeedsReset);
    }

    [Fact]
    public void The_state_keeps_input_that_waits()
    {
        var port = new VirtioConsolePort(null);
        var device = new VirtioConsole(_machine.Memory, port);
        port.Receive("typed ahead"u8);
        var other = new VirtioConsole(_machine.Memory, new VirtioConsolePort(null));
        other.Restore(device.Save());
        Assert.Equal("typed ahead"u8.ToArray(), other.Save().Ports[0].Waiting);
        Assert.Throws<InvalidDataException>(() => other.Restore(device.Save() with { Ports = [] }));
    }

    private void Control(GuestRing ring, uint id, ushort kind, ushort value)
    {
        var message = new byte[8];
        BitConverter.TryWriteBytes(message, id);
        BitConverter.TryWriteBytes(message.AsSpan(4), kind);
        BitConverter.TryWriteBytes(message.AsSpan(6), value);
        ring.Run(new Piece(_machine.Put(message), 8, false));
    }

    /// <summary>Gives the control queue buffers; the result takes the messages that have come.</summary>
    private Func<string[]> Listen(GuestRing ring, int buffers)
    {
        var places = new Dictionary<int, ulong>();
        for (var i = 0; i < buffers; i++)
        {
            var place = _machine.Allocate(128);
            places[ring.Add(new Piece(place, 128, true))] = place;
        }

        ring.Kick();
        return () =>
        {
            var messages = new List<string>();
            while (ring.TryTake(out var id, out var written))
            {
                var bytes = _machine.Get(places[id], (int)written);
                var value = BitConverter.ToUInt16(bytes, 6);
                var text = BitConverter.ToUInt16(bytes, 4) switch
                {
                    1 => $"add {value}",
                    4 => $"console {value}",
                    5 => $"resize {BitConverter.ToUInt16(bytes, 8)}x{BitConverter.ToUInt16(bytes, 10)}",
                    6 => $"open {value}",
                    7 => $"name {Encoding.UTF8.GetString(bytes, 8, bytes.Length - 8)}",
                    var other => $"event {other}",
                };
                messages.Add($"{BitConverter.ToUInt32(bytes)} {text}");
            }

            return [.. messages];
        };
    }

    private sealed class Sink : ISerialBackend
    {
        private readonly StringBuilder _text = new();

        public string Text => _text.ToString();

        public void Write(ReadOnlySpan<byte> bytes) => _text.Append(Encoding.ASCII.GetString(bytes));
    }
}
