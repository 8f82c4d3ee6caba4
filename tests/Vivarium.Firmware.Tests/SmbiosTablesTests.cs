using Vivarium.Firmware.Smbios;

namespace Vivarium.Firmware.Tests;

public sealed class SmbiosTablesTests
{
    [Fact]
    public void The_entry_point_sums_to_zero_and_leads_to_a_list_that_ends()
    {
        PlatformLayout layout = new() { MemorySize = 64ul << 20 };
        using var machine = new TestMemory(layout);
        FirmwareTables.Place(machine.Memory, layout);

        const ulong entry = SmbiosTables.EntryPointLocation;
        Assert.Equal("_SM3_", machine.Ascii(entry, 5));
        byte[] bytes = machine.Bytes(entry, machine.Memory.Read<byte>(entry + 6));
        Assert.Equal(0, bytes.Aggregate((byte)0, (sum, b) => (byte)(sum + b)));

        byte[] table = machine.Bytes(machine.Memory.Read<ulong>(entry + 16), machine.Memory.Read<int>(entry + 12));
        var types = new List<byte>();
        for (int at = 0; at < table.Length;)
        {
            types.Add(table[at]);
            at += table[at + 1];
            while (table[at] != 0 || table[at + 1] != 0)
            {
                at++;
            }

            at += 2;
        }

        Assert.Equal([0, 1, 127], types);
    }

    [Fact]
    public void Dmidecode_reads_the_names()
    {
        Tool.Require("dmidecode", "dmidecode");
        PlatformLayout layout = new() { MemorySize = 64ul << 20 };
        using var machine = new TestMemory(layout);
        FirmwareTables.Place(machine.Memory, layout);

        // dmidecode's own dump format: the entry point, which names offset 32 as the table's place, then the table.
        using var folder = new TemporaryFolder();
        byte[] dump = machine.Bytes(SmbiosTables.EntryPointLocation, 0x200);
        Kernels.U64(dump, 16, 0x20);
        dump[5] = 0;
        dump[5] = (byte)-dump.AsSpan(0, 24).ToArray().Aggregate((byte)0, (sum, b) => (byte)(sum + b));
        folder.Write("dump", dump);
        (int status, string output) = Tool.Run("dmidecode", folder.Path, null, "--from-dump", "dump");
        Assert.True(status == 0, output);
        Assert.Contains("Manufacturer: Vivarium", output, StringComparison.Ordinal);
        Assert.Contains("Product Name: Virtual Machine", output, StringComparison.Ordinal);
        Assert.DoesNotContain("roken", output, StringComparison.Ordinal);
    }
}
