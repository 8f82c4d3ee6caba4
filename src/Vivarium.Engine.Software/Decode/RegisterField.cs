namespace Vivarium.Engine.Software.Decode;

/// <summary>What the register field of a ModR/M byte names, of an instruction whose other operand may be in memory (SDM vol. 2A, 2.1.3).</summary>
internal enum RegisterField : byte
{
    /// <summary>There is no ModR/M byte, or it is not known here.</summary>
    Unknown,

    /// <summary>A general register; so does the other field, if that is no memory operand.</summary>
    General,

    /// <summary>More of the opcode; the other field names a general register, if that is no memory operand.</summary>
    Opcode,

    /// <summary>A vector register.</summary>
    Vector,
}

/// <summary>Opcode maps of 64-bit code: the common instructions in legacy encoding (SDM vol. 2D, appendix A.3).</summary>
internal static class RegisterFields
{
    public const byte TwoByteEscape = 0x0F;
    private const byte ThreeByteEscape = 0x38;

    /// <param name="code">An instruction's bytes.</param>
    public static RegisterField Of(ReadOnlySpan<byte> code)
    {
        ReadOnlySpan<byte> opcode = code[Prefixes.Length(code, rex: true)..];
        return opcode[0] != TwoByteEscape ? OfOneByte(opcode[0])
            : opcode[1] != ThreeByteEscape ? OfTwoByte(opcode[1])
            : opcode[2] is 0xF0 or 0xF1 ? RegisterField.General         // MOVBE, CRC32
            : RegisterField.Unknown;
    }

    private static RegisterField OfOneByte(byte opcode) => opcode switch
    {
        < 0x40 when (opcode & 7) < 4 => RegisterField.General,          // ADD ... CMP
        0x63 or 0x69 or 0x6B => RegisterField.General,                  // MOVSXD, IMUL
        0x80 or 0x81 or 0x83 => RegisterField.Opcode,                   // ADD ... CMP with a constant
        >= 0x84 and <= 0x8B => RegisterField.General,                   // TEST, XCHG, MOV
        0xC0 or 0xC1 or (>= 0xD0 and <= 0xD3) => RegisterField.Opcode,  // shifts
        0xC6 or 0xC7 or 0xF6 or 0xF7 or 0xFE or 0xFF => RegisterField.Opcode,
        _ => RegisterField.Unknown,
    };

    private static RegisterField OfTwoByte(byte opcode) => opcode switch
    {
        >= 0x10 and <= 0x17 => RegisterField.Vector,                    // MOVUPS ... MOVHPS
        0x28 or 0x29 or 0x2E or 0x2F => RegisterField.Vector,           // MOVAPS, UCOMISS, COMISS
        >= 0x40 and <= 0x4F => RegisterField.General,                   // CMOVcc
        >= 0x51 and <= 0x70 => RegisterField.Vector,
        0x74 or 0x75 or 0x76 or 0x7E or 0x7F => RegisterField.Vector,
        >= 0x90 and <= 0x9F or 0xBA => RegisterField.Opcode,            // SETcc, BT with a constant
        0xA3 or 0xAB or 0xB3 or 0xBB => RegisterField.General,          // BT, BTS, BTR, BTC
        0xA4 or 0xA5 or 0xAC or 0xAD => RegisterField.General,          // SHLD, SHRD
        0xAF or 0xB0 or 0xB1 or 0xB6 or 0xB7 => RegisterField.General,  // IMUL, CMPXCHG, MOVZX
        >= 0xBC and <= 0xC1 or 0xB8 => RegisterField.General,           // BSF, BSR, MOVSX, XADD, POPCNT
        0xC2 or 0xC6 or 0xD6 or 0xE7 or 0xEF => RegisterField.Vector,
        _ => RegisterField.Unknown,
    };
}
