namespace Vivarium.Firmware.Acpi;

/// <summary>Firmware ACPI control structure, version 2: the global lock and the (unused) waking vectors (ACPI 5.2.10).</summary>
internal static class Facs
{
    private const int Size = 64;
    private const byte Version = 2;

    public static byte[] Build()
    {
        var facs = new LittleEndianWriter();
        facs.Bytes("FACS"u8);
        facs.U32(Size);
        facs.U32(0); // hardware signature
        facs.U32(0); // waking vector
        facs.U32(0); // global lock
        facs.U32(0); // flags
        facs.U64(0); // X waking vector
        facs.U8(Version);
        facs.PadTo(Size);
        return facs.ToArray();
    }
}
