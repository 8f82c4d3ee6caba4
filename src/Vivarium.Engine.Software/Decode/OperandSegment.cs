using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>The segment of a memory operand.</summary>
internal static class OperandSegment
{
    public const int Ss = 2;
    public const int Ds = 3;
    public const int Fs = 4;
    public const int Gs = 5;

    /// <summary>By encoding, ES = 0. 64-bit mode ignores the prefixes of all segments but FS and GS (SDM vol. 1, 3.3.7.1).</summary>
    public static int Of(in Instruction instruction, bool code64)
    {
        int segment = instruction.MemorySegment - Register.ES;
        if (!code64 || segment >= Fs)
        {
            return segment;
        }

        return instruction.MemoryBase is Register.RSP or Register.RBP or Register.ESP or Register.EBP ? Ss : Ds;
    }
}
