using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>Iced's general registers by number, from the order in which it has them.</summary>
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
}
