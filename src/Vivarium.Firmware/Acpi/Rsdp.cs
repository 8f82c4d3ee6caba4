using System.Text;

namespace Vivarium.Firmware.Acpi;

/// <summary>Root system description pointer, revision 2 (ACPI 5.2.5.3). It has a checksum for its ACPI 1.0 part and one for all.</summary>
internal static class Rsdp
{
    private const byte Revision = 2;
    private const int Size = 36;
    private const int FirstPart = 20;
    private const int ChecksumOffset = 8;
    private const int ExtendedChecksumOffset = 32;

    public static byte[] Build(PlatformIdentity identity, ulong rsdt, ulong xsdt)
    {
        var rsdp = new LittleEndianWriter();
        rsdp.Bytes("RSD PTR "u8);
        rsdp.U8(0); // checksum, below
        rsdp.Bytes(Encoding.ASCII.GetBytes(identity.AcpiOemId));
        rsdp.U8(Revision);
        rsdp.U32((uint)rsdt);
        rsdp.U32(Size);
        rsdp.U64(xsdt);
        rsdp.PadTo(Size);

        byte[] bytes = rsdp.ToArray();
        bytes[ChecksumOffset] = Checksums.ToZero(bytes.AsSpan(0, FirstPart));
        bytes[ExtendedChecksumOffset] = Checksums.ToZero(bytes);
        return bytes;
    }
}
