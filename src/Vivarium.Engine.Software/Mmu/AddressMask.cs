namespace Vivarium.Engine.Software.Mmu;

/// <summary>The physical address lines that reach the bus: the A20M# pin of the processor (Pentium data sheet, "A20M#") masks line 20.</summary>
internal static class AddressMask
{
    public const ulong All = ulong.MaxValue;
    public const ulong WithoutLine20 = ~(1ul << 20);
}
