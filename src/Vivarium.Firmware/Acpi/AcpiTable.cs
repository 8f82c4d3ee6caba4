namespace Vivarium.Firmware.Acpi;

/// <summary>A finished table and where it goes in guest memory.</summary>
public sealed record AcpiTable(string Signature, ulong Address, ReadOnlyMemory<byte> Bytes);
