using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>
/// Sizes of tables by Iced's enumerations, at least as long as those: to count their members at run time makes the names of all
/// of them, which takes milliseconds.
/// </summary>
internal static class FormCounts
{
    /// <summary>More than any <see cref="Code"/>.</summary>
    public const int Codes = 1 << 13;

    /// <summary>More than any <see cref="Mnemonic"/>.</summary>
    public const int Mnemonics = 1 << 11;
}
