namespace Vivarium.Firmware.Acpi;

/// <summary>
/// The ACPI tables for firmware that puts them where it likes: all but the root pointer one after the other, the root
/// pointer, and the script that says what refers to what.
/// </summary>
internal sealed record MovableAcpiTables(byte[] Tables, byte[] RootPointer, byte[] Script)
{
    public const string TablesFile = "etc/acpi/tables";
    public const string RootPointerFile = "etc/acpi/rsdp";
    public const string ScriptFile = "etc/table-loader";

    private const uint Alignment = 64;
    private const int HeaderSize = 36;
    private const int ChecksumOffset = 9;

    // Pointers of the FADT (ACPI 5.2.9).
    private const int FirmwareControl = 36;
    private const int DsdtPointer = 40;
    private const int ExtendedFirmwareControl = 132;
    private const int ExtendedDsdt = 140;

    // The root pointer (ACPI 5.2.5.3).
    private const int RsdpLength = 36;
    private const int RsdpFirstPart = 20;
    private const int RsdpChecksum = 8;
    private const int RsdpRsdt = 16;
    private const int RsdpXsdt = 24;
    private const int RsdpExtendedChecksum = 32;

    public static MovableAcpiTables Build(PlatformLayout layout)
    {
        // In the file addresses are offsets from its beginning.
        AcpiTables built = AcpiTables.Build(layout, start: 0);
        AcpiTable root = built.Tables[^1];
        byte[] file = new byte[built.Tables.Where(table => table != root).Max(table => (int)table.Address + table.Bytes.Length)];
        byte[] rsdp = root.Bytes.ToArray();
        rsdp[RsdpChecksum] = rsdp[RsdpExtendedChecksum] = 0;
        var script = new TableLoader();
        script.Allocate(RootPointerFile, 16, TableLoader.Zone.BiosSegment);
        script.Allocate(TablesFile, Alignment, TableLoader.Zone.High);
        foreach (AcpiTable table in built.Tables)
        {
            int at = (int)table.Address;
            if (table == root)
            {
                script.AddPointer(RootPointerFile, RsdpRsdt, sizeof(uint), TablesFile);
                script.AddPointer(RootPointerFile, RsdpXsdt, sizeof(ulong), TablesFile);
                script.AddChecksum(RootPointerFile, RsdpChecksum, 0, RsdpFirstPart);
                script.AddChecksum(RootPointerFile, RsdpExtendedChecksum, 0, RsdpLength);
                continue;
            }

            table.Bytes.Span.CopyTo(file.AsSpan(at));
            foreach ((int offset, int size) in Pointers(table))
            {
                script.AddPointer(TablesFile, at + offset, size, TablesFile);
            }

            if (table.Signature != "FACS")
            {
                file[at + ChecksumOffset] = 0;
                script.AddChecksum(TablesFile, at + ChecksumOffset, at, table.Bytes.Length);
            }
        }

        return new MovableAcpiTables(file, rsdp, script.ToArray());
    }

    private static IEnumerable<(int Offset, int Size)> Pointers(AcpiTable table) => table.Signature switch
    {
        "FACP" => [(FirmwareControl, sizeof(uint)), (DsdtPointer, sizeof(uint)), (ExtendedFirmwareControl, sizeof(ulong)), (ExtendedDsdt, sizeof(ulong))],
        "RSDT" => Entries(table, sizeof(uint)),
        "XSDT" => Entries(table, sizeof(ulong)),
        _ => [],
    };

    private static IEnumerable<(int Offset, int Size)> Entries(AcpiTable table, int size)
    {
        for (int offset = HeaderSize; offset < table.Bytes.Length; offset += size)
        {
            yield return (offset, size);
        }
    }
}
