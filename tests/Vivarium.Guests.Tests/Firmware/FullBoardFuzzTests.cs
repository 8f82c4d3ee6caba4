using Vivarium.Board;
using Vivarium.Devices;
using Vivarium.Disks;
using Xunit;

namespace Vivarium.Guests.Tests.Firmware;

/// <summary>
/// A full PC with one of each device, as hostile code may treat it: 800,000 random accesses to all ports, base address registers and
/// configuration spaces by two processors at once, with addresses for DMA that are RAM, its edges, or nowhere. Whatever the guest's
/// machine becomes, the monitor lives: no device throws, and no memory but the guest's is touched.
/// </summary>
public sealed class FullBoardFuzzTests : IDisposable
{
    private const int CasesPerProcessor = 200_000;
    private const ushort ConfigAddress = 0xCF8;
    private const ushort ConfigData = 0xCFC;
    private const uint EnableConfiguration = 1u << 31;
    private const int PciFunctions = 256;

    /// <summary>After so many cases base address registers are as firmware would leave them, wherever they have been put.</summary>
    private const int CasesBetweenConfigurations = 5_000;

    private readonly Scratch _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void No_access_hurts_the_monitor(int seed)
    {
        var spec = new MachineSpec
        {
            Virtualization = Virtualization.Full,
            Firmware = new FirmwareSpec { Path = _scratch.Write("bios", new byte[256 << 10]), VariablesTemplate = _scratch.Write("variables", new byte[64 << 10]) },
            Memory = 16 * ByteSize.MiB,
            Cpus = 2,
            Disks = [Disk("ide", DiskBus.Ide), Disk("virtio", DiskBus.Virtio), Disk("ahci", DiskBus.Ahci), Disk("nvme", DiskBus.Nvme)],
            Cdroms = [Cd("cd.iso", DiskBus.Ide), Cd("cd2.iso", DiskBus.Ahci)],
            Floppies = [new FloppySpec { Path = _scratch.Write("floppy", new byte[1440 << 10]) }, new FloppySpec()],
            Networks = [Card(NetworkModel.E1000), Card(NetworkModel.Rtl8139), Card(NetworkModel.Virtio)],
            SerialPorts = MachineSpec.MostSerialPorts,
            VirtioConsole = true,
        };
        var layout = VirtualMachine.LayOut(spec);
        using var parts = MachineParts.Open(spec, _ => { });
        using var boot = BootSource.Open(spec, layout);
        List<CycleEnd> failures = [];
        void End(CycleEnd end)
        {
            if (end.Kind == CycleEndKind.Failed)
            {
                lock (failures)
                {
                    failures.Add(end);
                }
            }
        }

        using var pc = new Pc(layout, parts, boot, new MachineConsole(), _ => { }, End);
        pc.Clock.Resume();
        Configure(pc.Buses[0]);
        Assert.Empty(new[] { "vga", "e1000", "rtl8139", "virtio-net", "virtio-blk", "virtio-console", "AHCI", "NVMe" }.Except(pc.Mmio.Mappings().Select(range => range.Name)));
        Parallel.For(0, spec.Cpus, processor => Abuse(pc, processor, new Random((seed * 10) + processor), spec.Memory));
        pc.Quiesce();
        Assert.Equal([], failures.Select(failure => failure.Detail));
    }

    private CdromSpec Cd(string name, DiskBus bus) => new() { Path = _scratch.Write(name, new byte[64 << 10]), Bus = bus };

    /// <summary>A network that lets nothing out, with a ROM.</summary>
    private NetworkSpec Card(NetworkModel model) => new()
    {
        Model = model,
        Allow = [],
        Rom = _scratch.Write($"rom-{model}", [0x55, 0xAA, 1, .. new byte[509]]),
    };

    private DiskSpec Disk(string name, DiskBus bus) => new() { Path = _scratch.Write(name, new byte[1 << 20]), Format = Storage.ImageFormat.Raw, Bus = bus };

    private static void Abuse(Pc pc, int processor, Random random, ulong memory)
    {
        PcBus bus = pc.Buses[processor];
        for (int i = 0; i < CasesPerProcessor; i++)
        {
            if (processor == 0 && i % CasesBetweenConfigurations == 0)
            {
                Configure(bus);
            }

            int size = 1 << random.Next(3);
            switch (random.Next(8))
            {
                case 0:
                    AbuseConfiguration(bus, random, size, memory);
                    break;
                case 1 or 2:
                    ulong gpa = RegisterAddress(pc, random);
                    if (random.Next(2) == 0)
                    {
                        bus.WriteMmio(gpa, 1 << random.Next(4), Value(random, memory) | ((ulong)random.Next(4) << 32));
                    }
                    else
                    {
                        bus.ReadMmio(gpa, 1 << random.Next(4));
                    }

                    break;
                case 3:
                    // What a device may take for a table of its own.
                    pc.Memory.TryWriteRam((ulong)random.NextInt64((long)memory) & ~7ul, BitConverter.GetBytes(Value(random, memory) | ((ulong)random.Next() << 32)));
                    break;
                default:
                    ushort port = PortAddress(pc, random);
                    if (random.Next(2) == 0)
                    {
                        bus.WritePort(port, size, Value(random, memory));
                    }
                    else
                    {
                        bus.ReadPort(port, size);
                    }

                    break;
            }

            bus.AcknowledgeInterrupt();
        }
    }

    /// <summary>Gives all functions their places, as firmware does.</summary>
    private static void Configure(PcBus bus)
    {
        uint memory = 0xE000_0000;
        uint ports = 0xC000;
        for (uint function = 0; function < PciFunctions; function++)
        {
            uint Read(uint register)
            {
                bus.WritePort(ConfigAddress, 4, EnableConfiguration | (function << 8) | register);
                return bus.ReadPort(ConfigData, 4);
            }

            void Write(uint register, uint value)
            {
                bus.WritePort(ConfigAddress, 4, EnableConfiguration | (function << 8) | register);
                bus.WritePort(ConfigData, 4, value);
            }

            // The board's own functions stay where they are.
            if (Read(0) == uint.MaxValue || function < 16)
            {
                continue;
            }

            for (uint register = 0x10; register <= 0x30; register += register == 0x24 ? 12u : 4)
            {
                bool isRom = register == 0x30;
                Write(register, isRom ? 0xFFFF_FFFE : uint.MaxValue);
                uint mask = Read(register);
                bool isPort = !isRom && (mask & 1) != 0;
                uint length = ~(mask & (isPort ? 0xFFFF_FFFC : isRom ? 0xFFFF_F800 : 0xFFFF_FFF0)) + 1;
                if (mask == 0 || length == 0)
                {
                    continue;
                }

                ref uint next = ref isPort ? ref ports : ref memory;
                next = (next + length - 1) & ~(length - 1);
                Write(register, next | (isRom ? 1u : 0));
                next += length;
                if ((mask & 7) == 4 && !isRom)
                {
                    register += 4;
                    Write(register, 0);
                }
            }

            Write(4, 7);
        }
    }

    private static void AbuseConfiguration(PcBus bus, Random random, int size, ulong memory)
    {
        uint register = (uint)random.Next(256);
        bus.WritePort(ConfigAddress, 4, EnableConfiguration | ((uint)random.Next(PciFunctions / 4) << 8) | (register & 0xFC));
        ushort port = (ushort)(ConfigData + (register & (uint)(4 - size)));
        bus.ReadPort(port, size);
        if (random.Next(2) == 0)
        {
            bus.WritePort(port, size, Value(random, memory));
        }
    }

    private static ulong RegisterAddress(Pc pc, Random random)
    {
        var ranges = pc.Mmio.Mappings().ToArray();
        var (first, length, _) = ranges[random.Next(ranges.Length)];
        return random.Next(10) switch
        {
            0 => 0xFEE0_0000 + (ulong)random.Next(0x1000),
            1 => (ulong)random.NextInt64(1L << 40),
            _ => first + (ulong)random.NextInt64((long)Math.Min(length, 0x2000)),
        };
    }

    private static ushort PortAddress(Pc pc, Random random)
    {
        if (random.Next(20) == 0)
        {
            return (ushort)random.Next(PortBus.PortCount);
        }

        var ranges = pc.Ports.Mappings().ToArray();
        var (first, count, _) = ranges[random.Next(ranges.Length)];
        return (ushort)(first + random.Next(count));
    }

    /// <summary>Small numbers, random bits, and addresses in and around memory.</summary>
    private static uint Value(Random random, ulong memory) => random.Next(5) switch
    {
        0 => (uint)random.Next(256),
        1 => (uint)random.NextInt64(uint.MaxValue),
        2 => (uint)random.NextInt64((long)memory) & ~0xFu,
        3 => (uint)((long)memory + random.Next(-64, 64)),
        _ => 0xFFFF_FFF0u + (uint)random.Next(16),
    };
}
