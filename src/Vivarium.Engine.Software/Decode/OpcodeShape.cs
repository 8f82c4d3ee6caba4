namespace Vivarium.Engine.Software.Decode;

/// <summary>What stands behind an opcode, beside constants (SDM vol. 2A, 2.1).</summary>
internal enum OpcodeShape : byte
{
    /// <summary>Not one of the common opcodes: left to the general decoder.</summary>
    Other,

    /// <summary>A prefix that is known, of which there may be one.</summary>
    Prefix,

    /// <summary>Nothing.</summary>
    Plain,

    /// <summary>Nothing: the opcode's low three bits name a register.</summary>
    Register,

    /// <summary>A ModR/M byte.</summary>
    ModRm,

    /// <summary>A ModR/M byte whose register field is a part of the opcode.</summary>
    Group,
}

/// <summary>The opcodes of 64-bit code that the quick decoder knows: most of the one-byte and the two-byte map (SDM vol. 2D, appendix A).</summary>
internal static class OpcodeShapes
{
    public static OpcodeShape OfOneByte(int opcode) => opcode switch
    {
        < 0x40 when (opcode & 7) < 4 => OpcodeShape.ModRm,                  // ADD ... CMP
        < 0x40 when (opcode & 7) < 6 => OpcodeShape.Plain,                  // of AL, eAX with a constant
        >= 0x50 and <= 0x5F or (>= 0x91 and <= 0x97) => OpcodeShape.Register,   // PUSH, POP, XCHG
        0x63 or 0x69 or 0x6B or (>= 0x84 and <= 0x8B) or 0x8D => OpcodeShape.ModRm,    // MOVSXD, IMUL, TEST, XCHG, MOV, LEA
        0x80 or 0x81 or 0x83 => OpcodeShape.Group,                          // ADD ... CMP with a constant
        (>= 0x64 and <= 0x66) or 0xF0 or 0xF2 or 0xF3 => OpcodeShape.Prefix,
        0x68 or 0x6A or (>= 0x70 and <= 0x7F) => OpcodeShape.Plain,         // PUSH of a constant, Jcc
        0x90 or 0x98 or 0x99 or 0x9C or 0x9D => OpcodeShape.Plain,          // NOP, CDQE, CQO, PUSHF, POPF
        >= 0xA4 and <= 0xAF => OpcodeShape.Plain,                           // MOVS ... SCAS, TEST
        >= 0xB0 and <= 0xBF => OpcodeShape.Register,                        // MOV of a constant
        0xC0 or 0xC1 or (>= 0xD0 and <= 0xD3) or 0xC6 or 0xC7 => OpcodeShape.Group,    // shifts, MOV of a constant
        0xC2 or 0xC3 or 0xC9 or 0xCC or 0xCF => OpcodeShape.Plain,          // RET, LEAVE, INT3, IRET
        0xE8 or 0xE9 or 0xEB or (>= 0xEC and <= 0xEF) => OpcodeShape.Plain, // CALL, JMP, IN, OUT
        0xF4 or (>= 0xF8 and <= 0xFD) => OpcodeShape.Plain,                 // HLT, CLC ... STD
        0xF6 or 0xF7 or 0xFE or 0xFF => OpcodeShape.Group,                  // TEST ... IDIV, INC, DEC, CALL, JMP, PUSH
        _ => OpcodeShape.Other,
    };

    public static OpcodeShape OfTwoByte(int opcode) => opcode switch
    {
        0x05 or 0x0B or 0x30 or 0x31 or 0x32 or 0xA2 => OpcodeShape.Plain,  // SYSCALL, UD2, WRMSR, RDTSC, RDMSR, CPUID
        >= 0x10 and <= 0x17 or (>= 0x28 and <= 0x2F) => OpcodeShape.ModRm,  // MOVUPS ... COMISS
        0x1F or 0xBA => OpcodeShape.Group,                                  // NOP, BT with a constant
        >= 0x40 and <= 0x70 or (>= 0x74 and <= 0x76) or 0x7E or 0x7F => OpcodeShape.ModRm,  // CMOVcc, vectors
        >= 0x71 and <= 0x73 => OpcodeShape.Group,                           // shifts of vectors
        >= 0x80 and <= 0x8F => OpcodeShape.Plain,                           // Jcc
        >= 0x90 and <= 0x9F => OpcodeShape.ModRm,                           // SETcc
        0xA3 or 0xA4 or 0xA5 or 0xAB or 0xAC or 0xAD or 0xAF => OpcodeShape.ModRm,      // BT, SHLD, BTS, SHRD, IMUL
        0xB0 or 0xB1 or 0xB3 or 0xB6 or 0xB7 or (>= 0xBB and <= 0xC2) or 0xB8 or 0xC6 => OpcodeShape.ModRm,    // CMPXCHG ... XADD
        >= 0xC8 and <= 0xCF => OpcodeShape.Register,                        // BSWAP
        >= 0xD1 and <= 0xFE => OpcodeShape.ModRm,                           // vectors
        _ => OpcodeShape.Other,
    };
}
