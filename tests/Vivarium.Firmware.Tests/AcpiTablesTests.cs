using System.Buffers.Binary;
using System.Text;
using Vivarium.Firmware.Acpi;
using Vivarium.Memory;

namespace Vivarium.Firmware.Tests;

public sealed class AcpiTablesTests
{
    private static readonly PlatformLayout Small = new() { MemorySize = 128ul << 20 };

    private static readonly PlatformLayout Large = new()
    {
        MemorySize = 8ul << 30,
        CpuCount = PlatformLayout.MaximumCpuCount,
        SerialPorts = PlatformLayout.PcSerialPorts,
        HasMouse = true,
        HasVga = true,
        VirtioMmioCount = PlatformLayout.VirtioMmioMaximum,
    };

    [Fact]
    public void Every_table_sums_to_zero()
    {
        foreach (PlatformLayout layout in new[] { Small, Large })
        {
            foreach (AcpiTable table in AcpiTables.Build(layout).Tables.Where(table => table.Signature != "FACS"))
            {
                Assert.Equal(0, Sum(table.Bytes.Span));
            }
        }
    }

    [Fact]
    public void The_first_part_of_the_root_pointer_sums_to_zero_for_ACPI_1_systems()
    {
        Assert.Equal(0, Sum(Table(Small, "RSD PTR ").Bytes.Span[..20]));
    }

    [Fact]
    public void Tables_carry_their_signature_and_length_and_stay_in_their_area()
    {
        foreach (PlatformLayout layout in new[] { Small, Large })
        {
            ulong end = layout.AcpiAreaStart;
            foreach (AcpiTable table in AcpiTables.Build(layout).Tables.Where(table => table.Signature is not ("FACS" or "RSD PTR ")))
            {
                Assert.Equal(table.Signature, Encoding.ASCII.GetString(table.Bytes.Span[..4]));
                Assert.Equal(table.Bytes.Length, BinaryPrimitives.ReadInt32LittleEndian(table.Bytes.Span[4..]));
                Assert.True(table.Address >= end);
                end = table.Address + (ulong)table.Bytes.Length;
                Assert.True(end <= layout.AcpiNvsStart);
            }
        }
    }

    [Fact]
    public void An_operating_system_finds_every_table_from_the_root_pointer()
    {
        using var machine = new TestMemory(Small);
        ulong rsdp = FirmwareTables.Place(machine.Memory, Small);

        Assert.InRange(rsdp, 0xE0000ul, 0xFFFF0ul);
        Assert.Equal(0ul, rsdp % 16);
        Assert.Equal("RSD PTR ", machine.Ascii(rsdp, 8));
        ulong rsdt = machine.Memory.Read<uint>(rsdp + 16);
        ulong xsdt = machine.Memory.Read<ulong>(rsdp + 24);
        Assert.Equal("RSDT", machine.Ascii(rsdt, 4));
        Assert.Equal("XSDT", machine.Ascii(xsdt, 4));

        string[] expected = ["FACP", "APIC", "HPET"];
        for (uint i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], machine.Ascii(machine.Memory.Read<ulong>(xsdt + 36 + 8 * i), 4));
            Assert.Equal(machine.Memory.Read<ulong>(xsdt + 36 + 8 * i), machine.Memory.Read<uint>(rsdt + 36 + 4 * i));
        }

        ulong fadt = machine.Memory.Read<ulong>(xsdt + 36);
        Assert.Equal("FACS", machine.Ascii(machine.Memory.Read<uint>(fadt + 36), 4));
        Assert.Equal("DSDT", machine.Ascii(machine.Memory.Read<uint>(fadt + 40), 4));
        Assert.Equal("DSDT", machine.Ascii(machine.Memory.Read<ulong>(fadt + 140), 4));
    }

    [Fact]
    public void The_fixed_table_names_the_machines_registers()
    {
        ReadOnlySpan<byte> fadt = Table(Small, "FACP").Bytes.Span;
        Assert.Equal(276, fadt.Length);
        Assert.Equal(9, BinaryPrimitives.ReadUInt16LittleEndian(fadt[46..])); // SCI_INT
        Assert.Equal(0u, BinaryPrimitives.ReadUInt32LittleEndian(fadt[48..])); // SMI_CMD
        Assert.Equal(0x600u, BinaryPrimitives.ReadUInt32LittleEndian(fadt[56..])); // PM1a_EVT_BLK
        Assert.Equal(0x604u, BinaryPrimitives.ReadUInt32LittleEndian(fadt[64..])); // PM1a_CNT_BLK
        Assert.Equal(0x608u, BinaryPrimitives.ReadUInt32LittleEndian(fadt[76..])); // PM_TMR_BLK
        Assert.Equal(Small.Gpe0Block, BinaryPrimitives.ReadUInt32LittleEndian(fadt[80..])); // GPE0_BLK
        Assert.Equal(0x32, fadt[108]); // CENTURY
        Assert.Equal(0b111, BinaryPrimitives.ReadUInt16LittleEndian(fadt[109..])); // legacy devices, 8042, no VGA
        Assert.Equal(1u << 10 | 1u << 8, BinaryPrimitives.ReadUInt32LittleEndian(fadt[112..]) & (1u << 10 | 1u << 8 | 1u << 4 | 1u << 20));
        Assert.Equal(0xCF9ul, BinaryPrimitives.ReadUInt64LittleEndian(fadt[120..])); // RESET_REG
        Assert.Equal(6, fadt[128]); // RESET_VALUE
        Assert.Equal(0x604ul, BinaryPrimitives.ReadUInt64LittleEndian(fadt[176..])); // X_PM1a_CNT_BLK
    }

    [Fact]
    public void The_fixed_table_and_the_root_tell_of_no_device_that_is_not_there()
    {
        PlatformLayout bare = Small with { HasKeyboardController = false, HasHpet = false };
        Assert.Equal(0b101, BinaryPrimitives.ReadUInt16LittleEndian(Table(bare, "FACP").Bytes.Span[109..])); // legacy devices, no VGA
        Assert.DoesNotContain(AcpiTables.Build(bare).Tables, table => table.Signature == "HPET");
        Assert.True(Table(bare, "DSDT").Bytes.Length < Table(Small, "DSDT").Bytes.Length);
    }

    [Fact]
    public void A_classic_PC_does_not_tell_who_made_it()
    {
        PlatformLayout classic = Small with { Identity = PlatformIdentity.ClassicPc };
        foreach (AcpiTable table in AcpiTables.Build(classic).Tables)
        {
            Assert.DoesNotContain("VIVA", Encoding.Latin1.GetString(table.Bytes.Span), StringComparison.OrdinalIgnoreCase);
            Assert.True(table.Signature == "FACS" || Sum(table.Bytes.Span) == 0, table.Signature);
        }

        Assert.Contains("VIVARIUM", Encoding.Latin1.GetString(Table(Small, "DSDT").Bytes.Span), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(255)]
    public void The_interrupt_table_lists_every_processor(int cpus)
    {
        ReadOnlySpan<byte> madt = Table(Small with { CpuCount = cpus }, "APIC").Bytes.Span;
        Assert.Equal(0xFEE00000u, BinaryPrimitives.ReadUInt32LittleEndian(madt[36..]));
        int apics = 0;
        var others = new List<string>();
        for (int at = 44; at < madt.Length; at += madt[at + 1])
        {
            if (madt[at] == 0)
            {
                Assert.Equal(apics++, madt[at + 3]);
                Assert.Equal(1, madt[at + 4]);
            }
            else
            {
                others.Add(Convert.ToHexString(madt.Slice(at, madt[at + 1])));
            }
        }

        Assert.Equal(cpus, apics);
        Assert.Equal(
            ["010C00000000C0FE00000000", "020A0000020000000000", "020A0009090000000D00", "0406FF000001"], others);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(256)]
    public void A_machine_has_1_to_255_processors(int cpus) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => AcpiTables.Build(Small with { CpuCount = cpus }));

    [Fact]
    public void Iasl_disassembles_every_table_and_compiles_the_result_again()
    {
        Tool.Require("iasl", "acpica-tools");
        foreach (PlatformLayout layout in new[] { Small, Large })
        {
            using var folder = new TemporaryFolder();
            foreach (AcpiTable table in AcpiTables.Build(layout).Tables.Where(table => table.Signature is not "RSD PTR "))
            {
                folder.Write($"{table.Signature}.dat", table.Bytes.ToArray());
                (int status, string output) = Tool.Run("iasl", folder.Path, null, "-d", $"{table.Signature}.dat");
                Assert.True(status == 0 && !output.Contains("rror", StringComparison.Ordinal) && !output.Contains("arning", StringComparison.Ordinal), output);
                string source = File.ReadAllText(Path.Combine(folder.Path, $"{table.Signature}.dsl"));
                Assert.DoesNotContain("ncorrect", source, StringComparison.Ordinal);
                Assert.DoesNotContain("nvalid", source, StringComparison.Ordinal);
            }

            (int compiled, string messages) = Tool.Run("iasl", folder.Path, null, "-ve", "-p", "again", "DSDT.dsl");
            Assert.True(compiled == 0, messages);
            byte[] ours = File.ReadAllBytes(Path.Combine(folder.Path, "DSDT.dat"));
            byte[] theirs = File.ReadAllBytes(Path.Combine(folder.Path, "again.aml"));
            Assert.Equal(ours[36..], theirs[36..]);
        }
    }

    [Fact]
    public void The_namespace_describes_soft_off_the_host_bridge_and_the_ISA_devices()
    {
        Tool.Require("iasl", "acpica-tools");
        using var folder = new TemporaryFolder();
        folder.Write("DSDT.dat", Table(Small, "DSDT").Bytes.ToArray());
        Tool.Run("iasl", folder.Path, null, "-d", "DSDT.dat");
        string source = File.ReadAllText(Path.Combine(folder.Path, "DSDT.dsl"));

        Assert.Contains("Name (_S5, Package (0x04)", source, StringComparison.Ordinal);
        foreach (string id in new[] { "PNP0A03", "PNP0B00", "PNP0303", "PNP0501", "PNP0C02" })
        {
            Assert.Contains($"EisaId (\"{id}\")", source, StringComparison.Ordinal);
        }

        Assert.Contains("IRQNoFlags(){4}", string.Concat(source.Where(c => !char.IsWhiteSpace(c))), StringComparison.Ordinal);
        Assert.Contains("Device (COM2)", source, StringComparison.Ordinal);
        Assert.DoesNotContain("Device (COM3)", source, StringComparison.Ordinal);
        Assert.DoesNotContain("PNP0F13", source, StringComparison.Ordinal);
    }

    [Fact]
    public void Memory_mapped_virtio_devices_have_a_page_and_a_shared_level_interrupt_each()
    {
        Tool.Require("iasl", "acpica-tools");
        using var folder = new TemporaryFolder();
        folder.Write("DSDT.dat", Table(Small with { VirtioMmioCount = 2 }, "DSDT").Bytes.ToArray());
        Tool.Run("iasl", folder.Path, null, "-d", "DSDT.dat");
        string source = string.Concat(File.ReadAllText(Path.Combine(folder.Path, "DSDT.dsl")).Where(c => !char.IsWhiteSpace(c)));

        Assert.Equal(2, source.Split("\"LNRO0005\"").Length - 1);
        Assert.Contains("Device(VR01)", source, StringComparison.Ordinal);
        Assert.Contains("Memory32Fixed(ReadWrite,0xFEF01000,//AddressBase0x00001000,", source, StringComparison.Ordinal);
        Assert.Contains("Interrupt(ResourceConsumer,Level,ActiveHigh,Shared,,,){0x00000015,}", source, StringComparison.Ordinal);
    }

    private static AcpiTable Table(PlatformLayout layout, string signature) =>
        AcpiTables.Build(layout).Tables.Single(table => table.Signature == signature);

    private static byte Sum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte b in bytes)
        {
            sum += b;
        }

        return sum;
    }
}
