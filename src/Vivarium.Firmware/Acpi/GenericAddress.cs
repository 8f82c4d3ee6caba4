namespace Vivarium.Firmware.Acpi;

/// <summary>Generic Address Structure (ACPI 5.2.3.2).</summary>
internal readonly record struct GenericAddress(byte SpaceId, byte BitWidth, GenericAddress.Access AccessSize, ulong Address)
{
    public const byte SystemMemory = 0;
    public const byte SystemIo = 1;

    public enum Access : byte
    {
        Undefined = 0,
        Byte = 1,
        Word = 2,
        DWord = 3,
    }

    public static GenericAddress Io(ushort port, int bytes, Access access) => new(SystemIo, (byte)(bytes * 8), access, port);

    public void Write(LittleEndianWriter table)
    {
        table.U8(SpaceId);
        table.U8(BitWidth);
        table.U8(0); // bit offset
        table.U8((byte)AccessSize);
        table.U64(Address);
    }
}
