using System.Text;
using Vivarium.Memory;

namespace Vivarium.Firmware.Smbios;

/// <summary>
/// The machine's name for people and inventory tools: an SMBIOS 3.0 entry point and the structures that are worth having,
/// firmware (type 0), system (type 1) and end of table (type 127) (DSP0134, 5.2.2 and 7).
/// </summary>
public static class SmbiosTables
{
    /// <summary>In the area from 0xF0000 to 0xFFFFF that is searched for "_SM3_" at 16-byte steps.</summary>
    public const ulong EntryPointLocation = 0xF_0000;

    private const ulong TableLocation = EntryPointLocation + 0x20;
    private const byte EntryPointSize = 24;
    private const int ChecksumOffset = 5;

    private const byte FirmwareInformation = 0;
    private const byte SystemInformation = 1;
    private const byte EndOfTable = 127;

    public static void Write(GuestMemory memory, PlatformIdentity identity)
    {
        byte[] table = Table(identity);
        memory.Write(EntryPointLocation, EntryPoint((uint)table.Length));
        memory.Write(TableLocation, table);
    }

    private static byte[] EntryPoint(uint tableSize)
    {
        var entry = new LittleEndianWriter();
        entry.Bytes("_SM3_"u8);
        entry.U8(0); // checksum, below
        entry.U8(EntryPointSize);
        entry.U8(3); // major version
        entry.U8(0); // minor version
        entry.U8(0); // docrev
        entry.U8(1); // entry point revision
        entry.U8(0); // reserved
        entry.U32(tableSize);
        entry.U64(TableLocation);

        byte[] bytes = entry.ToArray();
        bytes[ChecksumOffset] = Checksums.ToZero(bytes);
        return bytes;
    }

    /// <summary>
    /// The SMBIOS 2.8 entry point (DSP0134, 5.2.1) for firmware that finds a place for the structures and fills it in with its
    /// checksums.
    /// </summary>
    internal static byte[] Anchor(PlatformIdentity identity)
    {
        const byte size = 0x1F, intermediateChecksum = 0, structures = 3, bcdRevision = 0x28;
        byte[] table = Table(identity);
        var entry = new LittleEndianWriter();
        entry.Bytes("_SM_"u8);
        entry.U8(0); // checksum
        entry.U8(size);
        entry.U8(2); // major version
        entry.U8(8); // minor version
        entry.U16((ushort)table.Length); // no structure is larger
        entry.U8(0); // entry point revision
        entry.PadTo(entry.Length + 5); // formatted area
        entry.Bytes("_DMI_"u8);
        entry.U8(intermediateChecksum);
        entry.U16((ushort)table.Length);
        entry.U32(0); // address
        entry.U16(structures);
        entry.U8(bcdRevision);
        return entry.ToArray();
    }

    internal static byte[] Table(PlatformIdentity identity)
    {
        var table = new LittleEndianWriter();
        Structure(table, FirmwareInformation, 0, Firmware(identity), identity.Manufacturer, identity.Version, "01/01/2026");
        Structure(table, SystemInformation, 1, System(), identity.Manufacturer, identity.Product, identity.Version);
        Structure(table, EndOfTable, 2, []);
        return table.ToArray();
    }

    private static byte[] Firmware(PlatformIdentity identity)
    {
        const ulong characteristicsNotSupported = 1 << 3;
        const byte acpiSupported = 1 << 0;
        const byte virtualMachine = 1 << 4;
        const byte notApplicable = 0xFF;
        var body = new LittleEndianWriter();
        body.U8(1); // vendor, string 1
        body.U8(2); // version, string 2
        body.U16(0xE000); // starting address segment
        body.U8(3); // release date, string 3
        body.U8(1); // ROM size: 128 KiB
        body.U64(characteristicsNotSupported);
        body.U8(acpiSupported);
        body.U8(identity.SaysVirtual ? virtualMachine : (byte)0);
        body.U8(0); // release, major
        body.U8(1); // release, minor
        body.U8(notApplicable); // embedded controller, major
        body.U8(notApplicable); // embedded controller, minor
        return body.ToArray();
    }

    private static byte[] System()
    {
        const int uuidSize = 16;
        const byte powerSwitch = 6;
        var body = new LittleEndianWriter();
        body.U8(1); // manufacturer, string 1
        body.U8(2); // product name, string 2
        body.U8(3); // version, string 3
        body.U8(0); // serial number: none
        body.PadTo(body.Length + uuidSize); // all zeros: not settable, none present
        body.U8(powerSwitch);
        body.U8(0); // SKU number: none
        body.U8(0); // family: none
        return body.ToArray();
    }

    /// <summary>Header, formatted area, then the strings, each ended by a zero and all of them by one more.</summary>
    private static void Structure(LittleEndianWriter table, byte type, ushort handle, ReadOnlySpan<byte> body, params ReadOnlySpan<string> strings)
    {
        const byte headerSize = 4;
        table.U8(type);
        table.U8((byte)(headerSize + body.Length));
        table.U16(handle);
        table.Bytes(body);
        foreach (string text in strings)
        {
            table.Bytes(Encoding.ASCII.GetBytes(text));
            table.U8(0);
        }

        if (strings.IsEmpty)
        {
            table.U8(0);
        }

        table.U8(0);
    }
}
