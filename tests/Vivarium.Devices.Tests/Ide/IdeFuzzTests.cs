using System.Buffers.Binary;

namespace Vivarium.Devices.Tests;

/// <summary>Guests that write anything to the ports, and lists of regions that lead anywhere.</summary>
public sealed class IdeFuzzTests
{
    private const int Sector = IdeMachine.Sector;

    /// <summary>Commands that the random ones shall meet often enough.</summary>
    private static readonly byte[] s_commands =
    [
        0x06, 0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3D, 0x40, 0x42, 0x90, 0x91, 0xC4, 0xC5, 0xC6, 0xC8, 0xCA, 0xCE, 0xE7, 0xEC, 0xEF,
    ];

    [Fact]
    public void Ports_survive_200_000_random_accesses()
    {
        var random = new Random(11);
        using var ide = new IdeMachine(false, new MemoryDisk(256 * Sector), new MemoryDisk(16 * Sector));
        var table = ide.Machine.Allocate(0x1_0000, 0x1_0000);
        for (var i = 0; i < 200_000; i++)
        {
            switch (random.Next(12))
            {
                case 0:
                    ide.Out(IdeMachine.Status, random.Next(3) == 0 ? (byte)random.Next(256) : s_commands[random.Next(s_commands.Length)]);
                    break;
                case 1:
                    ide.Out(IdeMachine.Device, (byte)(random.Next(256) & (random.Next(4) == 0 ? 0xFF : 0xEF)));
                    break;
                case 2:
                    ide.Out(1 + random.Next(5), (byte)(random.Next(2) == 0 ? random.Next(4) : random.Next(256)));
                    break;
                case 3:
                    ide.Board.Ports.Write((ushort)(PiixIde.PrimaryCommand + random.Next(8)), 1 << random.Next(3), (uint)random.Next());
                    break;
                case 4:
                    ide.Board.Ports.Read((ushort)(PiixIde.PrimaryCommand + random.Next(8)), 1 << random.Next(3));
                    break;
                case 5:
                    for (var words = random.Next(600); words > 0; words--)
                        ide.Board.Ports.Read(PiixIde.PrimaryCommand, 2);
                    break;
                case 6:
                    for (var words = random.Next(600); words > 0; words--)
                        ide.Board.Ports.Write(PiixIde.PrimaryCommand, 2, (uint)random.Next());
                    break;
                case 7:
                    ide.Control((byte)(random.Next(8) == 0 ? 4 : random.Next(3) == 0 ? 0x80 : 0));
                    break;
                case 8:
                    PutEntry(ide, table, random);
                    break;
                case 9:
                    ide.MasterOut(4, 4, random.Next(8) == 0 ? (uint)random.Next() : (uint)table + 8u * (uint)random.Next(16));
                    break;
                case 10:
                    ide.MasterOut(random.Next(8), 1, (uint)random.Next(16));
                    break;
                default:
                    ide.StartMaster(random.Next(2) == 0);
                    break;
            }
        }

        CheckThatItWorks(ide);
    }

    [Fact]
    public void Lists_of_20_000_random_kinds_reach_only_RAM()
    {
        var random = new Random(12);
        using var ide = new IdeMachine(false, new MemoryDisk(256 * Sector));
        Array.Fill(ide.Disk.Bytes, (byte)0xD1);
        var rom = ide.Machine.Get(VirtioMachine.RomStart, 0x1000);
        var table = ide.Machine.Allocate(0x1_0000, 0x1_0000);
        for (var i = 0; i < 20_000; i++)
        {
            for (var entries = random.Next(1, 6); entries > 0; entries--)
                PutEntry(ide, table, random);
            ide.MasterOut(4, 4, (uint)table + 8u * (uint)random.Next(16));
            var read = random.Next(2) == 0;
            ide.Command(read ? (byte)0xC8 : (byte)0xCA, (uint)random.Next(200), (byte)random.Next(1, 56));
            ide.StartMaster(read);
            ide.StopMaster();
        }

        Assert.Equal(rom, ide.Machine.Get(VirtioMachine.RomStart, 0x1000));
        CheckThatItWorks(ide);
    }

    [Fact]
    public void Two_processors_at_one_channel_do_no_harm()
    {
        using var ide = new IdeMachine(false, new MemoryDisk(256 * Sector), new MemoryDisk(256 * Sector));
        var tables = new[] { ide.Machine.Allocate(0x1_0000, 0x1_0000), ide.Machine.Allocate(0x1_0000, 0x1_0000) };
        Parallel.For(0, 2, processor =>
        {
            var random = new Random(20 + processor);
            for (var i = 0; i < 20_000; i++)
            {
                PutEntry(ide, tables[processor], random);
                ide.MasterOut(4, 4, (uint)tables[processor]);
                ide.Command(s_commands[random.Next(s_commands.Length)], (uint)random.Next(250), (byte)random.Next(1, 8), device: (byte)(0x40 | random.Next(2) << 4));
                ide.StartMaster(random.Next(2) == 0);
                ide.Board.Ports.Read(PiixIde.PrimaryCommand, 2);
                ide.In(IdeMachine.Status);
                if (random.Next(8) == 0)
                    ide.Control((byte)(random.Next(2) * 4));
            }
        });
        CheckThatItWorks(ide);
    }

    /// <summary>A region in RAM, across its ends, in ROM, or anywhere.</summary>
    private static void PutEntry(IdeMachine ide, ulong table, Random random)
    {
        var entry = new byte[8];
        var address = random.Next(8) switch
        {
            0 => (uint)random.Next(),
            1 => (uint)VirtioMachine.RomStart - (uint)random.Next(0x1000),
            2 => (uint)(VirtioMachine.HighRamStart + VirtioMachine.RamSize) - (uint)random.Next(0x2000),
            _ => (uint)VirtioMachine.HighRamStart + 0x20_0000 + (uint)random.Next(0x80_0000),
        };
        BinaryPrimitives.WriteUInt32LittleEndian(entry, address);
        BinaryPrimitives.WriteUInt16LittleEndian(entry.AsSpan(4), (ushort)(random.Next(3) == 0 ? random.Next(0x1_0000) : 512 * random.Next(8)));
        entry[7] = (byte)(random.Next(3) == 0 ? 0x80 : 0);
        ide.Memory.Write(table + 8 * (ulong)random.Next(20), entry);
    }

    private static void CheckThatItWorks(IdeMachine ide)
    {
        ide.StopMaster();
        ide.Control(4);
        ide.Control(0);
        ide.WaitReady();
        ide.EnableBusMaster(true);
        while (ide.Interrupted())
        {
        }

        var address = ide.Machine.Allocate(2 * Sector, 0x1000);
        ide.SetRegions((address, 2 * Sector));
        ide.Command(0xC8, lba: 5, count: 2);
        ide.StartMaster(toMemory: true);
        Assert.True(ide.Interrupted());
        Assert.Equal(IdeMachine.Ready, ide.In(IdeMachine.Status));
        Assert.Equal(ide.Disk.Bytes.AsSpan(5 * Sector, 2 * Sector).ToArray(), ide.Machine.Get(address, 2 * Sector));
    }
}
