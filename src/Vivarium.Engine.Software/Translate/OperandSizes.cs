using Iced.Intel;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Bytes of registers and memory operands, as Iced says, which copies all it knows of one for each answer. What was asked for
/// once stands in a table; 0, and more than 255 (FXSAVE, XSAVE, tiles), is asked for again. In the translator these take the
/// place of Iced's methods of the same name.
/// </summary>
internal static class OperandSizes
{
    private const int Kinds = byte.MaxValue + 1;

    private static readonly byte[] Registers = new byte[Kinds];
    private static readonly byte[] Operands = new byte[Kinds];

    /// <summary>0 of <see cref="Register.None"/>.</summary>
    public static int GetSize(this Register register)
    {
        ref byte size = ref Registers[(byte)register];
        return size != 0 ? size : Keep(ref size, RegisterExtensions.GetSize(register));
    }

    /// <summary>0 where the size is not known.</summary>
    public static int GetSize(this MemorySize operand)
    {
        ref byte size = ref Operands[(byte)operand];
        return size != 0 ? size : Keep(ref size, MemorySizeExtensions.GetSize(operand));
    }

    private static int Keep(ref byte size, int bytes)
    {
        size = bytes <= byte.MaxValue ? (byte)bytes : (byte)0;
        return bytes;
    }
}
