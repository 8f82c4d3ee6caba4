namespace Vivarium.Devices.Tests;

/// <summary>A guest that writes anything to configuration space and to wherever the ranges are at the moment.</summary>
public sealed class PciFuzzTests : IDisposable
{
    private readonly VirtioMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void Configuration_space_survives_100_000_random_accesses()
    {
        var random = new Random(7);
        var functions = new PciFunction[4];
        for (var i = 0; i < functions.Length; i++)
        {
            var transport = new VirtioPciTransport(new VirtioRng(_machine.Memory), "fuzz");
            functions[i] = transport.Function;
            transport.Function.AddPortBar(4, 0x20, new Nothing());
            Assert.Equal(2 + i, _machine.Pci.Attach(transport.Function));
        }

        for (var i = 0; i < 100_000; i++)
        {
            var device = random.Next(2, 6);
            var size = 1 << random.Next(3);
            var register = random.Next(4) == 0 ? 0x04 : random.Next(2) == 0 ? 0x10 + random.Next(0x18) : random.Next(256);
            register &= ~(size - 1);
            var value = register == 0x04 ? (uint)random.Next(8) : random.Next(4) switch
            {
                // Near each other, onto what the board has, anywhere.
                0 => 0xC000_0000 + (uint)random.Next(8) * 0x1000,
                1 => 0xFEC0_0000 + (uint)random.Next(0x30) * 0x1_0000,
                2 => (uint)random.Next(),
                _ => uint.MaxValue,
            };
            _machine.WritePci(device, register, size, value);
            _machine.ReadPci(device, random.Next(256) & ~3, 4);
            var address = 0xC000_0000 + (ulong)random.Next(0xC000);
            if (random.Next(2) == 0)
                _machine.Board.Mmio.Write(address, 1 << random.Next(4), (ulong)random.NextInt64());
            else
                _machine.Board.Mmio.Read(address, 1 << random.Next(4));
            functions[random.Next(functions.Length)].SetInterrupt(random.Next(2) == 0);
        }

        // What the board has wired is where it was.
        _machine.Board.WriteIoApic(0, 0x0500_0000);
        Assert.Equal(0x0500_0000u, _machine.Board.ReadIoApic(0));

        // And a device whose range is put somewhere free works as ever.
        _machine.WritePci(2, 0x04, 2, 0);
        _machine.WritePci(2, 0x10, 4, 0xE000_0000);
        _machine.WritePci(2, 0x14, 4, 0);
        _machine.WritePci(2, 0x04, 2, 6);
        _machine.Board.Mmio.Write(0xE000_0014, 1, 0);
        Assert.Equal(0ul, _machine.Board.Mmio.Read(0xE000_0014, 1));
        Assert.Equal(64ul, _machine.Board.Mmio.Read(0xE000_0018, 2));
    }

    private sealed class Nothing : IPortDevice
    {
        public uint ReadPort(ushort offset, int size) => 0;

        public void WritePort(ushort offset, int size, uint value)
        {
        }
    }
}
