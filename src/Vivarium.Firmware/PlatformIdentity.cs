namespace Vivarium.Firmware;

/// <summary>The names that the firmware's tables give the machine: of its maker, of the model, of who wrote the tables.</summary>
public sealed record PlatformIdentity
{
    /// <summary>The machine says whose it is, and that it is virtual.</summary>
    public static PlatformIdentity Vivarium { get; } = new()
    {
        AcpiOemId = "VIVARM",
        AcpiOemTableId = "VIVARIUM",
        AcpiCreatorId = "VIVA",
        Manufacturer = "Vivarium",
        Product = "Virtual Machine",
        Version = "1",
        SaysVirtual = true,
    };

    /// <summary>A nameless PC, named after its chipset as cheap boards were: there is no maker to be found.</summary>
    public static PlatformIdentity ClassicPc { get; } = new()
    {
        AcpiOemId = "PC440 ",
        AcpiOemTableId = "PC440FX ",
        AcpiCreatorId = "ASL ",
        Manufacturer = "To be filled by O.E.M.",
        Product = "440FX",
        Version = "1.0",
        SaysVirtual = false,
    };

    /// <summary>OEMID of ACPI tables, 6 characters (ACPI 5.2.6).</summary>
    public required string AcpiOemId { get; init; }

    /// <summary>OEM Table ID, 8 characters.</summary>
    public required string AcpiOemTableId { get; init; }

    /// <summary>Creator ID, 4 characters.</summary>
    public required string AcpiCreatorId { get; init; }

    /// <summary>Of the firmware and of the system (SMBIOS types 0 and 1).</summary>
    public required string Manufacturer { get; init; }

    public required string Product { get; init; }

    public required string Version { get; init; }

    /// <summary>The firmware's characteristics say that this is a virtual machine (SMBIOS 7.1.2.2).</summary>
    public required bool SaysVirtual { get; init; }
}
