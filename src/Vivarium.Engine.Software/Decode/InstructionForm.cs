using Iced.Intel;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Software.Decode;

/// <summary>What the translator asks of an instruction again and again.</summary>
[Flags]
internal enum FormKinds : ushort
{
    None = 0,

    /// <summary>It is emulated where translated code has no way of its own to do it (<see cref="PrivilegedTable"/>).</summary>
    Emulated = 1 << 0,

    /// <summary>It runs as it is and leaves arithmetic flags new.</summary>
    MakesFlags = 1 << 1,

    /// <summary>Its translation is one of the host's instructions, with nothing else around it.</summary>
    Plain = 1 << 2,

    /// <summary>It works on one register, or two, or one and a constant, and runs as the host's, beside what is done with flags.</summary>
    Simple = 1 << 3,

    /// <summary>SETcc, CMOVcc.</summary>
    Conditional = 1 << 4,

    /// <summary>It writes no general register but by an operand, or the stack pointer.</summary>
    WritesOperandsOnly = 1 << 5,

    /// <summary>PUSH, POP, CALL, RET and the like.</summary>
    Stack = 1 << 6,

    /// <summary>The host may refuse it.</summary>
    MayBeRefused = 1 << 7,

    /// <summary>It accesses memory, not only names an address.</summary>
    Accesses = 1 << 8,

    /// <summary>What comes next may be another than what stands behind it.</summary>
    Jumps = 1 << 9,

    /// <summary>Its registers and constants are all that it works on: the guest's bytes may run as they are, of 32-bit code too.</summary>
    Registers = 1 << 10,

    /// <summary>A conditional jump.</summary>
    Jcc = 1 << 11,

    /// <summary>SHL, SHR or SAR by a constant.</summary>
    ConstantShift = 1 << 12,

    /// <summary>It is one of the stack's, or one that needs more than new names for its operands: those that the translator has methods of their own for.</summary>
    Special = 1 << 13,

    /// <summary>Its second and last operand is a constant of four bytes that is sign-extended to eight.</summary>
    ExtendsImmediate = 1 << 14,
}

/// <summary>
/// What is the same for all instructions of one form: those with one <see cref="Code"/>, in 64-bit code or in other, and with a
/// memory operand or none where there may be either.
/// </summary>
internal sealed class InstructionForm
{
    public required Offering Offering { get; init; }

    public required CodeTraits Traits { get; init; }

    public required Mnemonic Mnemonic { get; init; }

    public required FormKinds Kinds { get; init; }

    /// <summary>The number of the operand that is in memory at an address of the instruction's own; -1 if none is.</summary>
    public required int Memory { get; init; }

    /// <summary>One bit per operand: those that are general registers.</summary>
    public required int GeneralRegisters { get; init; }

    /// <summary>Bytes of the first operand, if that is a register; else 0.</summary>
    public required int FirstSize { get; init; }

    /// <summary>Bytes of the memory operand; 0 if there is none.</summary>
    public required int MemorySize { get; init; }

    /// <summary>Of legacy encodings in 64-bit code.</summary>
    public required RegisterField RegisterField { get; init; }

    /// <summary>True if it is any of these.</summary>
    public bool Is(FormKinds kind) => (Kinds & kind) != 0;

    public bool HasGeneralRegister(int operand) => (GeneralRegisters & (1 << operand)) != 0;
}
