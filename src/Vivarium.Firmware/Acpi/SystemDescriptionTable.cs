using System.Text;

namespace Vivarium.Firmware.Acpi;

/// <summary>The header that most ACPI tables share (ACPI 5.2.6).</summary>
internal static class SystemDescriptionTable
{
    private const int HeaderSize = 36;
    private const int ChecksumOffset = 9;

    /// <summary>Puts a header before <paramref name="body"/> and makes all bytes sum to zero.</summary>
    public static byte[] Seal(ReadOnlySpan<byte> signature, byte revision, PlatformIdentity identity, ReadOnlySpan<byte> body)
    {
        var table = new LittleEndianWriter();
        table.Bytes(signature);
        table.U32((uint)(HeaderSize + body.Length));
        table.U8(revision);
        table.U8(0); // checksum, below
        table.Bytes(Encoding.ASCII.GetBytes(identity.AcpiOemId));
        table.Bytes(Encoding.ASCII.GetBytes(identity.AcpiOemTableId));
        table.U32(1);
        table.Bytes(Encoding.ASCII.GetBytes(identity.AcpiCreatorId));
        table.U32(1);
        table.Bytes(body);

        byte[] bytes = table.ToArray();
        bytes[ChecksumOffset] = Checksums.ToZero(bytes);
        return bytes;
    }
}
