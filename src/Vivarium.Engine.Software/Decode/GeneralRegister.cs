using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>Numbers and sizes of Iced's general registers, by the order in which it has them.</summary>
internal static class GeneralRegister
{
    /// <summary>Number in the encoding of all 64 bits of it: AH counts as RAX.</summary>
    public static int NumberOf(Register register) => register switch
    {
        >= Register.AX and <= Register.R15 => (register - Register.AX) & 15,
        >= Register.SPL and <= Register.R15L => register - Register.SPL + 4,
        _ => (register - Register.AL) & 3,
    };

    public static bool IsHighByte(Register register) => register is >= Register.AH and <= Register.BH;

    public static bool Is(Register register) => register is >= Register.AL and <= Register.R15;

    public static bool Is64(Register register) => register is >= Register.RAX and <= Register.R15;

    /// <summary>In bytes.</summary>
    public static int SizeOf(Register register) => register switch
    {
        >= Register.RAX => 8,
        >= Register.EAX => 4,
        >= Register.AX => 2,
        _ => 1,
    };

    /// <summary>The register of a size with a number. Of one byte those from 4 on are SPL to R15L.</summary>
    public static Register Of(int number, int size) => size switch
    {
        1 => number < 4 ? Register.AL + number : Register.SPL + (number - 4),
        2 => Register.AX + number,
        4 => Register.EAX + number,
        _ => Register.RAX + number,
    };
}
