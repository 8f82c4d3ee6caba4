namespace Vivarium.Devices.Tests;

public class PlatformPortTests
{
    private sealed class Function : IPciFunction
    {
        public List<(int Offset, int Size, uint Value)> Writes { get; } = [];

        public uint ReadConfig(int offset, int size) => 0x1234_5600u + (uint)offset;

        public void WriteConfig(int offset, int size, uint value) => Writes.Add((offset, size, value));
    }

    private readonly PortBus _ports = new();
    private readonly ResetControl _reset = new();
    private readonly PciHost _pci;
    private int _resets;

    public PlatformPortTests()
    {
        _reset.ResetRequested = () => _resets++;
        _pci = new PciHost(_reset);
        _pci.Map(_ports);
    }

    private uint ReadConfig(uint address, int size = 4)
    {
        _ports.Write(0xCF8, 4, 0x8000_0000 | address & ~3u);
        return _ports.Read((ushort)(0xCFC + (address & 3)), size);
    }

    [Fact]
    public void Configuration_mechanism_1_is_found_as_systems_look_for_it()
    {
        _ports.Write(0xCFB, 1, 1);
        var saved = _ports.Read(0xCF8, 4);
        _ports.Write(0xCF8, 4, 0x8000_0000);
        Assert.Equal(0x8000_0000u, _ports.Read(0xCF8, 4));
        _ports.Write(0xCF8, 4, saved);
        Assert.Equal(0xFFFF_FFFFu, _ports.Read(0xCFC, 4));
    }

    [Fact]
    public void The_host_bridge_is_a_440fx_and_other_places_are_empty()
    {
        Assert.Equal(0x1237_8086u, ReadConfig(0));
        Assert.Equal(0x1237u, ReadConfig(2, 2));
        Assert.Equal(0x06u, ReadConfig(0x0B, 1));
        Assert.Equal(0x00u, ReadConfig(0x0E, 1));
        Assert.Equal(0xFFFF_FFFFu, ReadConfig(1 << 11));
        Assert.Equal(0xFFFF_FFFFu, ReadConfig(1 << 8));
        Assert.Equal(0xFFFF_FFFFu, ReadConfig(1 << 16));
        Assert.Equal(0xFFu, ReadConfig(31 << 11 | 3, 1));
    }

    [Fact]
    public void Identity_cannot_be_written_but_own_registers_can()
    {
        ReadConfig(0);
        _ports.Write(0xCFC, 4, 0);
        Assert.Equal(0x1237_8086u, ReadConfig(0));
        ReadConfig(0x58);
        _ports.Write(0xCFD, 1, 0x33);
        Assert.Equal(0x33u, ReadConfig(0x59, 1));
        ReadConfig(4);
        _ports.Write(0xCFC, 2, 0xFFFF);
        Assert.Equal(0x0146u, ReadConfig(4, 2));
    }

    [Fact]
    public void A_function_that_is_plugged_in_is_reached_by_any_size()
    {
        var function = new Function();
        _pci.Attach(3, 1, function);
        Assert.Throws<InvalidOperationException>(() => _pci.Attach(3, 1, function));
        Assert.Equal(0x5642u, ReadConfig(3 << 11 | 1 << 8 | 0x42, 2));
        _ports.Write(0xCFF, 1, 0xAB);
        Assert.Equal((0x43, 1, 0xABu), Assert.Single(function.Writes));
    }

    [Fact]
    public void The_reset_register_resets_when_its_cpu_bit_rises()
    {
        _ports.Write(0xCF9, 1, 0x02);
        Assert.Equal(0x02u, _ports.Read(0xCF9, 1));
        Assert.Equal(0, _resets);
        _ports.Write(0xCF9, 1, ResetControl.HardReset);
        Assert.Equal(1, _resets);
        _ports.Write(0xCF8, 4, 0x8000_0600);
        Assert.Equal(1, _resets);
    }

    [Fact]
    public void Pci_state_survives_a_round_trip()
    {
        ReadConfig(0x58);
        _ports.Write(0xCFC, 4, 0x1122_3344);
        var state = _pci.Save();
        var copy = new PciHost(new ResetControl());
        copy.Restore(state);
        Assert.Equal(0x1122_3344u, copy.ReadPort(4, 4));
        Assert.Equal(state.HostBridge, copy.Save().HostBridge);
        Assert.Throws<InvalidDataException>(() => copy.Restore(state with { HostBridge = [] }));
    }

    [Fact]
    public void The_debug_console_is_there_and_writes()
    {
        var written = new List<byte>();
        new DebugConsole(written.Add).Map(_ports);
        Assert.Equal(0xE9u, _ports.Read(0xE9, 1));
        _ports.Write(0xE9, 1, 'x');
        Assert.Equal([(byte)'x'], written);
    }

    [Fact]
    public void Debug_exit_tells_what_was_written()
    {
        uint? value = null;
        new DebugExit { ExitRequested = v => value = v }.Map(_ports);
        _ports.Write(0xF4, 1, 0x10);
        Assert.Equal(0x10u, value);
        _ports.Write(0xF4, 4, 0x1234_5678);
        Assert.Equal(0x1234_5678u, value);
    }

    [Fact]
    public void Post_codes_are_kept_and_port_92_resets()
    {
        var post = new PostCode();
        post.Map(_ports);
        _ports.Write(0x80, 1, 0x55);
        Assert.Equal(0x55, post.Last);
        var control = new SystemControlPort(new A20Gate()) { ResetRequested = () => _resets++ };
        control.Map(_ports);
        Assert.Equal(2u, _ports.Read(0x92, 1));
        _ports.Write(0x92, 1, 0);
        Assert.Equal(0u, _ports.Read(0x92, 1));
        Assert.Equal(0, control.Save().Value);
        _ports.Write(0x92, 1, 3);
        Assert.Equal(1, _resets);
    }

    [Fact]
    public void No_access_whatever_makes_a_device_throw()
    {
        var board = new Board();
        var irq0 = board.Interrupts.CreateIsaLine(0);
        var irq8 = board.Interrupts.CreateIsaLine(8);
        new Pit8254(board.Clock, irq0).Map(board.Ports);
        new Rtc(board.Clock, irq8, 1UL << 28, 0).Map(board.Ports);
        new Hpet(board.Clock, board.Interrupts, irq0, irq8).Map(board.Mmio);
        new AcpiPm(board.Clock, board.Interrupts.CreateIsaLine(9)).Map(board.Ports);
        new I8042(board.Interrupts.CreateIsaLine(1), board.Interrupts.CreateIsaLine(12), new A20Gate(), new Ps2Keyboard(board.Clock), new Ps2Mouse()).Map(board.Ports);
        new PciHost(new ResetControl()).Map(board.Ports);
        new Uart16550(board.Interrupts.CreateIsaLine(4), null).Map(board.Ports, Uart16550.Com1, "COM1");
        var ports = board.Ports.Mappings().ToArray();
        var random = new Random(7);
        int[] sizes = [1, 2, 4, 8];
        for (var i = 0; i < 300_000; i++)
        {
            var size = sizes[random.Next(3)];
            var (first, count, _) = ports[random.Next(ports.Length)];
            var port = (ushort)(first + random.Next(count));
            var mmioSize = sizes[random.Next(4)];
            var mmio = (ulong)random.Next(0x400) & ~((ulong)mmioSize - 1);
            var value = random.Next(4) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(256);
            switch (random.Next(9))
            {
                case 0:
                    board.Ports.Read(port, size);
                    break;
                case 1:
                    board.Ports.Write(port, size, (uint)value);
                    break;
                case 2:
                    board.Mmio.Read(Hpet.DefaultAddress + mmio, mmioSize);
                    break;
                case 3:
                    board.Mmio.Write(Hpet.DefaultAddress + mmio, mmioSize, value);
                    break;
                case 4:
                    board.WriteIoApic((byte)random.Next(0x48), (uint)value);
                    break;
                case 5:
                    board.Apic.WriteMmio(mmio & ~0xFUL, 4, value);
                    break;
                case 6:
                    board.Apic.WriteMsr(0x800 + (uint)random.Next(0x40), value);
                    board.Apic.WriteMsr(random.Next(50) == 0 ? LocalApic.ApicBaseMsr : LocalApic.TscDeadlineMsr, random.Next(2) == 0 ? value : 0xFEE0_0800);
                    break;
                case 7:
                    board.Apic.ReadMmio(mmio, 4);
                    board.Apic.AcknowledgeInterrupt();
                    break;
                default:
                    board.Pass(random.NextInt64(1L << random.Next(40)));
                    break;
            }
        }
    }
}
