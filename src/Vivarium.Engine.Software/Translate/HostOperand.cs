using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>Where a checked memory operand stands in the host: base + index + displacement.</summary>
/// <param name="Base">Host register.</param>
/// <param name="Index">Host register, or -1.</param>
/// <param name="Displacement">Bytes.</param>
internal readonly record struct HostOperand(int Base, int Index, int Displacement)
{
    /// <summary>The scratch register that the operand leaves free; -1 if there is none.</summary>
    public int FreeScratch => Base == T1 ? (Index == T2 ? -1 : T2) : T1;

    /// <summary>An operand that T1 alone points to.</summary>
    public static HostOperand AtT1 => new(T1, -1, 0);
}
