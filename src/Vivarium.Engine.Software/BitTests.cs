namespace Vivarium.Engine.Software;

internal static class BitTests
{
    /// <summary>True if all of <paramref name="bits"/> are set.</summary>
    public static bool Has(this ulong value, ulong bits) => (value & bits) == bits;
}
