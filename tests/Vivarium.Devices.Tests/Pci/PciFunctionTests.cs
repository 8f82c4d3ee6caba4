namespace Vivarium.Devices.Tests;

public sealed class PciFunctionTests : IDisposable
{
    private const int Command = 4;
    private const int Status = 6;
    private const int Bar0 = 0x10;
    private const int Bar1 = 0x14;
    private const int Bar2 = 0x18;
    private const uint Io = 1;
    private const uint Memory = 2;
    private const uint InterruptDisable = 1 << 10;

    private readonly VirtioMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void The_header_says_what_it_is()
    {
        var device = Attach(Function());
        Assert.Equal(2, device);
        Assert.Equal(0x5678_1234u, _machine.ReadPci(device, 0, 4));
        Assert.Equal(0x0102_0307u, _machine.ReadPci(device, 8, 4));
        Assert.Equal(0u, _machine.ReadPci(device, 0x0E, 1));
        Assert.Equal(0xDEF0_9ABCu, _machine.ReadPci(device, 0x2C, 4));
        Assert.Equal(1u, _machine.ReadPci(device, 0x3D, 1));
        _machine.WritePci(device, 0, 4, 0);
        _machine.WritePci(device, 8, 4, 0);
        Assert.Equal(0x5678_1234u, _machine.ReadPci(device, 0, 4));
        Assert.Equal(uint.MaxValue, _machine.ReadPci(device + 1, 0, 4));
    }

    [Fact]
    public void Ranges_are_sized_as_drivers_do_it()
    {
        var registers = new Registers();
        var function = Function();
        function.AddMemoryBar(0, 0x4000, registers, is64Bit: true);
        function.AddMemoryBar(2, 0x20, registers);
        function.AddPortBar(3, 0x40, registers);
        var device = Attach(function);
        _machine.WritePci(device, Command, 2, 0);
        Assert.Equal(0xFFFF_C004u, Size(Bar0));
        Assert.Equal(0xFFFF_FFFFu, Size(Bar1));
        Assert.Equal(0xFFFF_FFE0u, Size(Bar2));
        Assert.Equal(0xFFFF_FFC1u, Size(0x1C));
        Assert.Equal(0u, Size(0x20));
        Assert.Equal(0u, Size(0x30));

        uint Size(int register)
        {
            _machine.WritePci(device, register, 4, uint.MaxValue);
            return _machine.ReadPci(device, register, 4);
        }
    }

    [Fact]
    public void The_board_gives_addresses_that_work_at_once()
    {
        var registers = new Registers();
        var function = Function();
        function.AddMemoryBar(0, 0x1000, registers);
        function.AddPortBar(1, 0x10, registers);
        var device = Attach(function);
        var bar = _machine.ReadPci(device, Bar0, 4);
        Assert.InRange(bar, PciBus.MemoryWindowStart, PciBus.MemoryWindowEnd);
        _machine.Board.Mmio.Write(bar + 8, 4, 0x1234);
        Assert.Equal((8ul, 0x1234ul), registers.Last);
        _machine.Board.Ports.Write((ushort)((_machine.ReadPci(device, Bar1, 4) & ~3u) + 4), 2, 0x77);
        Assert.Equal((4ul, 0x77ul), registers.Last);
    }

    [Fact]
    public void Ranges_move_and_disappear_as_the_guest_says()
    {
        var registers = new Registers();
        var function = Function();
        function.AddMemoryBar(0, 0x1000, registers, is64Bit: true);
        function.AddPortBar(2, 0x10, registers);
        var device = Attach(function);
        var old = _machine.ReadPci(device, Bar0, 4) & ~0xFu;

        _machine.WritePci(device, Command, 2, 0);
        Assert.Equal(uint.MaxValue, (uint)_machine.Board.Mmio.Read(old, 4));
        _machine.WritePci(device, Bar0, 4, 0xD123_4567);
        _machine.WritePci(device, Bar1, 4, 0x0000_0040);
        Assert.Equal(0xD123_4004u, _machine.ReadPci(device, Bar0, 4));
        _machine.WritePci(device, Bar2, 4, 0x5678);
        _machine.WritePci(device, Command, 2, Memory);
        Assert.Equal(0x10ul, _machine.Board.Mmio.Read(0x40_D123_4010, 4));
        Assert.Equal(uint.MaxValue, _machine.Board.Ports.Read(0x5674, 4));
        _machine.WritePci(device, Command, 2, Memory | Io);
        Assert.Equal(4u, _machine.Board.Ports.Read(0x5674, 4));

        // Moving while it is decoded moves it at once.
        _machine.WritePci(device, Bar1, 4, 0);
        Assert.Equal(uint.MaxValue, (uint)_machine.Board.Mmio.Read(0x40_D123_4010, 4));
        Assert.Equal(0x10ul, _machine.Board.Mmio.Read(0xD123_4010, 4));
    }

    [Fact]
    public void A_range_in_another_ones_place_waits_until_it_is_free()
    {
        Registers one = new(), two = new();
        var function = Function();
        function.AddMemoryBar(0, 0x1000, one);
        var first = Attach(function);
        function = Function();
        function.AddMemoryBar(0, 0x1000, two);
        var second = Attach(function);
        var place = _machine.ReadPci(first, Bar0, 4);
        var other = _machine.ReadPci(second, Bar0, 4);

        _machine.WritePci(second, Bar0, 4, place);
        _machine.Board.Mmio.Write(place, 4, 1);
        Assert.Equal(1ul, one.Last.Value);
        Assert.Equal(uint.MaxValue, (uint)_machine.Board.Mmio.Read(other, 4));
        _machine.WritePci(first, Bar0, 4, other);
        _machine.Board.Mmio.Write(place, 4, 2);
        _machine.Board.Mmio.Write(other, 4, 3);
        Assert.Equal(2ul, two.Last.Value);
        Assert.Equal(3ul, one.Last.Value);

        // Nor can it take the place of what the board has wired.
        _machine.WritePci(first, Bar0, 4, (uint)IoApic.DefaultAddress);
        _machine.Board.WriteIoApic(0, 0x0500_0000);
        Assert.Equal(0x0500_0000u, _machine.Board.ReadIoApic(0));
    }

    [Fact]
    public void The_pin_reaches_the_io_apic_and_the_8259_as_the_routing_table_says()
    {
        _machine.Board.InitializePic();
        for (var i = 0; i < 4; i++)
        {
            var function = Function();
            var device = Attach(function);
            var irq = new[] { 10, 10, 11, 11 }[(device + 3) % 4];
            Assert.Equal((uint)irq, _machine.ReadPci(device, 0x3C, 1));
            _machine.Board.Redirect(16 + (device + 3) % 4, (uint)(0x60 + i) | 1 << 15);
            function.SetInterrupt(true);
            Assert.Equal(1u << 3, _machine.ReadPci(device, Status, 2) & 1 << 3);
            Assert.Equal(0x20 + irq, _machine.Board.Apic.AcknowledgeInterrupt());
            Assert.Equal(0x60 + i, _machine.Board.Apic.AcknowledgeInterrupt());
            function.SetInterrupt(false);
            _machine.Board.EndOfInterrupt();
            _machine.Board.Out(0xA0, 0x20);
            _machine.Board.Out(0x20, 0x20);
            Assert.False(_machine.Board.Apic.HasInterrupt);
            Assert.Equal(0u, _machine.ReadPci(device, Status, 2) & 1 << 3);
        }

        Assert.Equal(0x0C, _machine.Board.In(0x4D1));
    }

    [Fact]
    public void Devices_that_share_a_line_are_one_level()
    {
        var functions = new PciFunction[5];
        for (var i = 0; i < functions.Length; i++)
            Attach(functions[i] = Function());
        _machine.Board.Redirect(17, 0x60 | 1 << 15);
        functions[0].SetInterrupt(true);
        functions[4].SetInterrupt(true);
        Assert.Equal(0x60, _machine.Board.Apic.AcknowledgeInterrupt());
        functions[0].SetInterrupt(false);
        _machine.Board.EndOfInterrupt();
        Assert.Equal(0x60, _machine.Board.Apic.AcknowledgeInterrupt());
        functions[4].SetInterrupt(false);
        _machine.Board.EndOfInterrupt();
        Assert.False(_machine.Board.Apic.HasInterrupt);
    }

    [Fact]
    public void The_pin_can_be_disabled()
    {
        var function = Function();
        var device = Attach(function);
        _machine.Board.Redirect(16 + (device + 3) % 4, 0x60 | 1 << 15);
        _machine.WritePci(device, Command, 2, InterruptDisable);
        function.SetInterrupt(true);
        Assert.False(_machine.Board.Apic.HasInterrupt);
        _machine.WritePci(device, Command, 2, 0);
        Assert.Equal(0x60, _machine.Board.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void Thirty_devices_fit_and_no_more()
    {
        for (var i = 0; i < 30; i++)
            Attach(Function());
        Assert.Throws<InvalidOperationException>(() => Attach(Function()));
    }

    [Fact]
    public void The_state_survives_a_round_trip()
    {
        var registers = new Registers();
        var function = Function();
        function.AddMemoryBar(0, 0x1000, registers);
        function.AddMsiX(2, 1);
        var device = Attach(function);
        _machine.WritePci(device, Bar0, 4, 0xD000_0000);
        _machine.WritePci(device, 0x3C, 1, 5);
        var table = _machine.ReadPci(device, Bar1, 4);
        _machine.Board.Mmio.Write(table, 8, 0xFEE0_0000);
        var state = function.Save();

        _machine.WritePci(device, Bar0, 4, 0xD800_0000);
        _machine.Board.Mmio.Write(table, 8, 0);
        function.Restore(state);
        Assert.Equal(8ul, _machine.Board.Mmio.Read(0xD000_0008, 4));
        Assert.Equal(5u, _machine.ReadPci(device, 0x3C, 1));
        Assert.Equal(0xFEE0_0000ul, _machine.Board.Mmio.Read(table, 8));
        Assert.Throws<InvalidDataException>(() => function.Restore(state with { Config = [] }));
        Assert.Throws<InvalidDataException>(() => function.Restore(state with { MsiX = null }));
        Assert.Throws<InvalidDataException>(() => function.Restore(state with { MsiX = new MsiXState() }));
    }

    private static PciFunction Function() => new("test", new PciIdentity(0x1234, 0x5678, 7, 0x01_0203, 0x9ABC, 0xDEF0));

    private int Attach(PciFunction function) => _machine.Pci.Attach(function);

    /// <summary>Reads give the offset; the last write is remembered.</summary>
    private sealed class Registers : IMmioDevice, IPortDevice
    {
        public (ulong Offset, ulong Value) Last { get; private set; }

        public ulong ReadMmio(ulong offset, int size) => offset;

        public void WriteMmio(ulong offset, int size, ulong value) => Last = (offset, value);

        public uint ReadPort(ushort offset, int size) => offset;

        public void WritePort(ushort offset, int size, uint value) => Last = (offset, value);
    }
}
