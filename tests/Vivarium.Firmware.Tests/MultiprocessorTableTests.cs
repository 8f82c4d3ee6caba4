using System.Buffers.Binary;

namespace Vivarium.Firmware.Tests;

/// <summary>The table as systems without ACPI look for it and read it (MultiProcessor Specification 1.4, 4).</summary>
public sealed class MultiprocessorTableTests
{
    private static readonly PlatformLayout s_layout = new()
    {
        MemorySize = 64ul << 20,
        CpuCount = 3,
        Identity = PlatformIdentity.ClassicPc,
        HasMultiprocessorTable = true,
        ProcessorSignature = 0x0003_06A9,
        ProcessorFeatures = 0x0F8B_FBFF,
    };

    [Fact]
    public void The_pointer_and_the_table_sum_to_zero()
    {
        byte[] pointer = Find(s_layout, out byte[] table)!;
        Assert.Equal(1, pointer[8]);
        Assert.Equal(4, pointer[9]);
        Assert.Equal([0, 0, 0, 0, 0], pointer[11..]);
        Assert.Equal(0, Sum(pointer));
        Assert.Equal(0, Sum(table));
        Assert.Equal("PCMP"u8, table.AsSpan(0, 4));
        Assert.Equal(0xFEE0_0000u, BinaryPrimitives.ReadUInt32LittleEndian(table.AsSpan(36)));
    }

    [Fact]
    public void It_lists_processors_buses_and_every_interrupt()
    {
        Find(s_layout, out byte[] table);
        List<byte[]> entries = Entries(table);
        Assert.Equal(BinaryPrimitives.ReadUInt16LittleEndian(table.AsSpan(34)), entries.Count);
        Assert.Equal(
            [(0, 3), (1, 1), (2, 1)],
            entries.Where(entry => entry[0] == 0).Select(entry => ((int)entry[1], (int)entry[3])));
        Assert.All(entries.Where(entry => entry[0] == 0), entry => Assert.Equal(0x0003_06A9u, BinaryPrimitives.ReadUInt32LittleEndian(entry.AsSpan(4))));
        Assert.Equal(["PCI   ", "ISA   "], entries.Where(entry => entry[0] == 1).Select(entry => System.Text.Encoding.ASCII.GetString(entry, 2, 6)));
        Assert.Equal(0xFEC0_0000u, BinaryPrimitives.ReadUInt32LittleEndian(Assert.Single(entries, entry => entry[0] == 2).AsSpan(4)));

        // ISA: the timer comes at input 2, the ACPI interrupt is level-triggered, the others are as on every PC.
        List<byte[]> isa = [.. entries.Where(entry => entry[0] == 3 && entry[4] == 1)];
        Assert.Equal([0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], isa.Select(entry => (int)entry[5]));
        Assert.Equal([2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], isa.Select(entry => (int)entry[7]));
        Assert.Equal([9], isa.Where(entry => entry[2] == 0x0D).Select(entry => (int)entry[5]));

        // PCI: device 3, INTA# is line 2, as the DSDT says.
        Assert.Equal(18, Assert.Single(entries, entry => entry[0] == 3 && entry[4] == 0 && entry[5] == 3 << 2)[7]);
        Assert.Equal([(3, 0, 0), (1, 0xFF, 1)], entries.Where(entry => entry[0] == 4).Select(entry => ((int)entry[1], (int)entry[6], (int)entry[7])));
    }

    [Fact]
    public void The_largest_machine_has_room_for_it()
    {
        Find(s_layout with { CpuCount = PlatformLayout.MaximumCpuCount }, out byte[] table);
        Assert.Equal(PlatformLayout.MaximumCpuCount, Entries(table).Count(entry => entry[0] == 0));
    }

    [Fact]
    public void Machines_that_tell_what_they_are_have_none() => Assert.Null(Find(s_layout with { HasMultiprocessorTable = false }, out _));

    private static byte[]? Find(PlatformLayout layout, out byte[] table)
    {
        using var machine = new TestMemory(layout);
        FirmwareTables.Place(machine.Memory, layout);
        for (ulong place = 0xF_0000; place < 0x10_0000; place += 16)
        {
            if (machine.Ascii(place, 4) == "_MP_")
            {
                ulong at = machine.Memory.Read<uint>(place + 4);
                table = machine.Bytes(at, machine.Memory.Read<ushort>(at + 4));
                return machine.Bytes(place, 16);
            }
        }

        table = [];
        return null;
    }

    private static List<byte[]> Entries(byte[] table)
    {
        var entries = new List<byte[]>();
        for (int at = 44; at < table.Length;)
        {
            int length = table[at] == 0 ? 20 : 8;
            entries.Add(table[at..(at + length)]);
            at += length;
        }

        return entries;
    }

    private static byte Sum(byte[] bytes) => bytes.Aggregate((byte)0, (sum, value) => (byte)(sum + value));
}
