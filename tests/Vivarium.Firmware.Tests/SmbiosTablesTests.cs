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
    public void A_classic_PC_does_not_say_that_it_is_virtual()
    {
        PlatformLayout layout = new() { MemorySize = 64ul << 20 };
        Assert.Contains("Vivarium", TextOf(layout), StringComparison.Ordinal);
        Assert.Equal(1, VirtualMachineBit(layout));
        PlatformLayout classic = layout with { Identity = PlatformIdentity.ClassicPc };
        Assert.DoesNotContain("Viv", TextOf(classic), StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("Virtual", TextOf(classic), StringComparison.OrdinalIgnoreCase);
        Assert.Equal(0, VirtualMachineBit(classic));
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

    private static string TextOf(PlatformLayout layout)
    {
        using var machine = new TestMemory(layout);
        FirmwareTables.Place(machine.Memory, layout);
        return machine.Ascii(SmbiosTables.EntryPointLocation, 0x200);
    }

    /// <summary>Bit 4 of the second extension byte of the first structure, type 0 (DSP0134, 7.1.2.2).</summary>
    private static int VirtualMachineBit(PlatformLayout layout)
    {
        const int secondExtension = 0x13;
        using var machine = new TestMemory(layout);
        FirmwareTables.Place(machine.Memory, layout);
        ulong firmware = machine.Memory.Read<ulong>(SmbiosTables.EntryPointLocation + 16);
        return machine.Memory.Read<byte>(firmware + secondExtension) >> 4 & 1;
    }
}
