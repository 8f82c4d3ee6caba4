using System.Text;
using Vivarium.Firmware.Acpi;
using Vivarium.Firmware.Boot;
using Vivarium.Firmware.Smbios;

namespace Vivarium.Firmware;

/// <summary>
/// What firmware made for a virtual board is told of this one by name (QEMU Firmware Configuration Device specification; the names
/// are those that SeaBIOS and OVMF ask for).
/// </summary>
public static class FwCfgFiles
{
    /// <param name="layout">The machine, with the ports that the firmware has given its power management.</param>
    /// <param name="serialConsole">SeaBIOS shows its text, and that of programs that use its video services, on the first serial port.</param>
    /// <param name="bootOrder">Open Firmware's paths of what to boot from, the first to try first; empty: firmware knows an order of its own.</param>
    /// <param name="kernel">A kernel that the firmware is to start; null if it finds by itself what to start.</param>
    public static IReadOnlyDictionary<string, ReadOnlyMemory<byte>> Build(PlatformLayout layout, bool serialConsole, IReadOnlyList<string> bootOrder, FirmwareHandover? kernel = null)
    {
        MovableAcpiTables acpi = MovableAcpiTables.Build(layout);
        var files = new Dictionary<string, ReadOnlyMemory<byte>>
        {
            ["etc/e820"] = MemoryMap(layout),
            [MovableAcpiTables.RootPointerFile] = acpi.RootPointer,
            [MovableAcpiTables.TablesFile] = acpi.Tables,
            [MovableAcpiTables.ScriptFile] = acpi.Script,
            ["etc/smbios/smbios-anchor"] = SmbiosTables.Anchor(layout.Identity),
            ["etc/smbios/smbios-tables"] = SmbiosTables.Table(layout.Identity),
        };
        if (serialConsole && layout.SerialPorts.Count != 0)
        {
            files["etc/sercon-port"] = BitConverter.GetBytes(layout.SerialPorts[0].Port);
        }

        if (kernel is not null)
        {
            files[FirmwareHandover.RomFile] = kernel.Rom;
            bootOrder = [FirmwareHandover.BootOrder, .. bootOrder];
        }

        if (bootOrder.Count != 0)
        {
            files["bootorder"] = Encoding.ASCII.GetBytes($"{string.Join('\n', bootOrder)}\n\0");
        }

        return files;
    }

    /// <summary>Where RAM is: start and length in 64 bits, type in 32. What firmware reserves of it is its own business.</summary>
    private static byte[] MemoryMap(PlatformLayout layout)
    {
        var map = new LittleEndianWriter();
        void Ram(ulong start, ulong length)
        {
            map.U64(start);
            map.U64(length);
            map.U32((uint)E820Type.Ram);
        }

        Ram(0, layout.RamBelow4G);
        if (layout.RamAbove4G != 0)
        {
            Ram(PlatformLayout.HighRamStart, layout.RamAbove4G);
        }

        return map.ToArray();
    }
}
