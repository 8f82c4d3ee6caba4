using Iced.Intel;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Bytes of registers and memory operands, as Iced says, which copies all it knows of one for each answer. What was asked for
/// once stands in a table; 0 is asked for again. In the translator these take the place of Iced's methods of the same name.
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
        if (size == 0)
        {
            size = (byte)RegisterExtensions.GetSize(register);
        }

        return size;
    }

    /// <summary>0 where the size is not known. Operands of more than 255 bytes (FXSAVE, XSAVE) are in no table.</summary>
    public static int GetSize(this MemorySize operand)
    {
        ref byte size = ref Operands[(byte)operand];
        if (size == 0)
        {
            int bytes = MemorySizeExtensions.GetSize(operand);
            if (bytes > byte.MaxValue)
            {
                return bytes;
            }

            size = (byte)bytes;
        }

        return size;
    }
}
