using Vivarium.Firmware.Acpi;
using Vivarium.Firmware.Smbios;
using Vivarium.Memory;

namespace Vivarium.Firmware;

/// <summary>The tables that an operating system expects a PC's firmware to have left in memory.</summary>
public static class FirmwareTables
{
    /// <summary>Writes all of them and returns the address of the ACPI root pointer (RSDP).</summary>
    public static ulong Place(GuestMemory memory, PlatformLayout layout)
    {
        BiosDataArea.Write(memory, layout);
        SmbiosTables.Write(memory, layout.Identity);
        if (layout.HasMultiprocessorTable)
        {
            MultiprocessorTable.Write(memory, layout);
        }

        AcpiTables acpi = AcpiTables.Build(layout);
        acpi.Write(memory);
        return acpi.RsdpAddress;
    }
}
