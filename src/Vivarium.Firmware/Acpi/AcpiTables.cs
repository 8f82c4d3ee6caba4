using Vivarium.Memory;

namespace Vivarium.Firmware.Acpi;

/// <summary>
/// All ACPI tables of a machine, with their places: the root pointer where systems search for it, below 1 MiB, the FACS in
/// memory that stays reserved, the others before it at the top of RAM below 4 GiB.
/// </summary>
public sealed class AcpiTables
{
    /// <summary>In the area from 0xE0000 to 0xFFFFF that is searched for "RSD PTR " at 16-byte steps (ACPI 5.2.5.1).</summary>
    public const ulong RsdpLocation = 0xE_0000;

    private const ulong Alignment = 64;

    private AcpiTables(IReadOnlyList<AcpiTable> tables) => Tables = tables;

    public ulong RsdpAddress => RsdpLocation;

    /// <summary>Every table, the root pointer last.</summary>
    public IReadOnlyList<AcpiTable> Tables { get; }

    public static AcpiTables Build(PlatformLayout layout) => Build(layout, layout.AcpiAreaStart, layout.AcpiNvsStart);

    /// <summary>Lays the tables from <paramref name="start"/> on, the FACS before all others.</summary>
    internal static AcpiTables Build(PlatformLayout layout, ulong start) => Build(layout, start + Alignment, start);

    private static AcpiTables Build(PlatformLayout layout, ulong start, ulong facs)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(layout.MemorySize, PlatformLayout.MinimumMemorySize);
        ArgumentOutOfRangeException.ThrowIfLessThan(layout.CpuCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(layout.CpuCount, PlatformLayout.MaximumCpuCount);

        var tables = new List<AcpiTable>();
        ulong next = start;
        ulong Add(string signature, byte[] bytes)
        {
            ulong address = next;
            tables.Add(new AcpiTable(signature, address, bytes));
            next = address + (ulong)bytes.Length + Alignment - 1 & ~(Alignment - 1);
            return next <= start + PlatformLayout.AcpiAreaSize - PlatformLayout.AcpiNvsSize
                ? address
                : throw new InvalidOperationException("the ACPI tables do not fit into their area");
        }

        tables.Add(new AcpiTable("FACS", facs, Facs.Build()));
        ulong dsdt = Add("DSDT", Dsdt.Build(layout));
        List<ulong> described = [Add("FACP", Fadt.Build(layout, facs, dsdt)), Add("APIC", Madt.Build(layout))];
        if (layout.HasHpet)
        {
            described.Add(Add("HPET", HpetTable.Build(layout.Identity)));
        }

        ulong rsdt = Add("RSDT", RootTable("RSDT"u8, layout.Identity, described, wide: false));
        ulong xsdt = Add("XSDT", RootTable("XSDT"u8, layout.Identity, described, wide: true));
        tables.Add(new AcpiTable("RSD PTR ", RsdpLocation, Rsdp.Build(layout.Identity, rsdt, xsdt)));
        return new AcpiTables(tables);
    }

    public void Write(GuestMemory memory)
    {
        foreach (AcpiTable table in Tables)
        {
            memory.Write(table.Address, table.Bytes.Span);
        }
    }

    /// <summary>RSDT or XSDT: the addresses of the other tables, in 32 or 64 bits (ACPI 5.2.7, 5.2.8).</summary>
    private static byte[] RootTable(ReadOnlySpan<byte> signature, PlatformIdentity identity, List<ulong> described, bool wide)
    {
        const byte revision = 1;
        var body = new LittleEndianWriter();
        foreach (ulong address in described)
        {
            if (wide)
            {
                body.U64(address);
            }
            else
            {
                body.U32((uint)address);
            }
        }

        return SystemDescriptionTable.Seal(signature, revision, identity, body.Written);
    }
}
