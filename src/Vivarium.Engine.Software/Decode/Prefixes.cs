namespace Vivarium.Engine.Software.Decode;

/// <summary>Prefixes of legacy encodings (SDM vol. 2A, 2.1.1 and 2.2.1).</summary>
internal static class Prefixes
{
    public const int Rex = 0x40;

    public static bool IsRex(byte value) => (value & 0xF0) == Rex;

    public static bool IsLegacy(byte value) => value is 0x66 or 0xF2 or 0xF3 or 0xF0 || IsOfAddress(value);

    /// <summary>Segments, and the address size.</summary>
    public static bool IsOfAddress(byte value) => value is 0x26 or 0x2E or 0x36 or 0x3E or 0x64 or 0x65 or 0x67;

    /// <summary>Where the opcode of an instruction begins.</summary>
    /// <param name="code">The instruction's bytes.</param>
    /// <param name="rex">It is 64-bit code: elsewhere the bytes of REX are opcodes.</param>
    public static int Length(ReadOnlySpan<byte> code, bool rex)
    {
        int at = 0;
        while (IsLegacy(code[at]) || (rex && IsRex(code[at])))
        {
            at++;
        }

        return at;
    }
}
