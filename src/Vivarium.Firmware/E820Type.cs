namespace Vivarium.Firmware;

/// <summary>Address range types (ACPI 15, "System Address Map Interfaces").</summary>
public enum E820Type : uint
{
    Ram = 1,
    Reserved = 2,

    /// <summary>ACPI tables; RAM again once the operating system has read them.</summary>
    AcpiReclaimable = 3,

    /// <summary>Memory that firmware and operating system share for good, such as the FACS.</summary>
    AcpiNvs = 4,
}
