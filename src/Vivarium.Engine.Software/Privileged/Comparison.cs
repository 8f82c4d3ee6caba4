using System.Numerics;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>The status flags of CMP (SDM vol. 1, 3.4.3.1): those of left minus right.</summary>
internal static class Comparison
{
    public static ulong Flags(ulong left, ulong right, int size)
    {
        int bits = size * 8;
        ulong mask = ulong.MaxValue >> (64 - bits);
        left &= mask;
        right &= mask;
        ulong result = (left - right) & mask;
        ulong flags = 0;
        flags |= left < right ? RflagsBits.Cf : 0;
        flags |= (BitOperations.PopCount(result & 0xFF) & 1) == 0 ? RflagsBits.Pf : 0;
        flags |= (left ^ right ^ result) & RflagsBits.Af;
        flags |= result == 0 ? RflagsBits.Zf : 0;
        flags |= (result >> (bits - 1)) != 0 ? RflagsBits.Sf : 0;
        flags |= (((left ^ right) & (left ^ result)) >> (bits - 1)) != 0 ? RflagsBits.Of : 0;
        return flags;
    }
}
