namespace Vivarium.Oracle.Generate;

/// <summary>Random values that make instructions show their edges.</summary>
internal static unsafe class Values
{
    private static readonly ulong[] s_edges =
    [
        0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
        0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, ulong.MaxValue, ulong.MaxValue - 1,
    ];

    private static readonly uint[] s_singles =
    [
        0, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFFC0_0001, 0x7F80_0001, 0xFFBF_FFFF,
        1, 0x8000_0001, 0x007F_FFFF, 0x0080_0000, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x4F00_0000, 0xCF00_0000, 0x5F00_0000, 0x3F00_0000, 0x4020_0000,
    ];

    private static readonly ulong[] s_doubles =
    [
        0, 0x8000_0000_0000_0000, 0x3FF0_0000_0000_0000, 0xBFF0_0000_0000_0000, 0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000,
        0x7FF8_0000_0000_0000, 0xFFF8_0000_0000_0001, 0x7FF0_0000_0000_0001, 0xFFF7_FFFF_FFFF_FFFF, 1, 0x8000_0000_0000_0001,
        0x000F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x7FEF_FFFF_FFFF_FFFF, 0x41E0_0000_0000_0000, 0xC1E0_0000_0000_0000,
        0x43E0_0000_0000_0000, 0x3FE0_0000_0000_0000, 0x4004_0000_0000_0000, 0x36A0_0000_0000_0000, 0x47F0_0000_0000_0000,
    ];

    /// <summary>Sign and exponent, significand of 80-bit values: zeros, one, infinities, NaNs, denormal, pseudo-denormal, unnormal, pseudo-infinity.</summary>
    private static readonly (ushort SignExponent, ulong Significand)[] s_extendeds =
    [
        (0, 0), (0x8000, 0), (0x3FFF, 0x8000_0000_0000_0000), (0xBFFF, 0x8000_0000_0000_0000), (0x7FFF, 0x8000_0000_0000_0000),
        (0xFFFF, 0x8000_0000_0000_0000), (0x7FFF, 0xC000_0000_0000_0000), (0xFFFF, 0xC000_0000_0000_0000), (0x7FFF, 0xA000_0000_0000_0000),
        (0, 1), (0, 0x8000_0000_0000_0000), (0x4000, 0x4000_0000_0000_0000), (0x7FFF, 0), (0x7FFE, ulong.MaxValue), (1, 0x8000_0000_0000_0000),
        (0x403E, 0x8000_0000_0000_0000), (0x401E, 0xFFFF_FFFF_0000_0000), (0x3FFE, 0x8000_0000_0000_0000), (0x4000, 0xC90F_DAA2_2168_C235),
    ];

    public static ulong Integer(ref Rng random) => random.Below(10) switch
    {
        < 3 => random.Pick<ulong>(s_edges),
        3 => (ulong)(long)random.Between(-128, 127),
        4 => 1ul << random.Below(64),
        5 => random.Next() >> random.Below(64),
        6 => (ulong)((long)random.Next() >> random.Below(64)),
        _ => random.Next(),
    };

    public static uint Single(ref Rng random) => random.Below(4) switch
    {
        0 => random.Pick<uint>(s_singles),
        1 => (uint)random.Next(),
        2 => BitConverter.SingleToUInt32Bits(random.Between(-1000, 1000) / 8f),
        _ => ((uint)random.Next() & 0x807F_FFFF) | ((uint)random.Between(127 - 40, 127 + 40) << 23),
    };

    public static ulong Double(ref Rng random) => random.Below(4) switch
    {
        0 => random.Pick<ulong>(s_doubles),
        1 => random.Next(),
        2 => BitConverter.DoubleToUInt64Bits(random.Between(-100000, 100000) / 16d),
        _ => (random.Next() & 0x800F_FFFF_FFFF_FFFF) | ((ulong)random.Between(1023 - 70, 1023 + 70) << 52),
    };

    public static void Extended(ref Rng random, byte* to)
    {
        (ushort signExponent, ulong significand) = random.Below(4) switch
        {
            0 => random.Pick<(ushort, ulong)>(s_extendeds),
            1 => ((ushort)random.Next(), random.Next()),
            2 => ((ushort)(random.Between(0x3FFF, 0x3FFF + 66) | (random.Below(2) << 15)), (random.Next() << random.Below(63)) | (1ul << 63)),
            _ => ((ushort)(random.Between(0x3FFF - 70, 0x3FFF + 70) | (random.Below(2) << 15)), random.Next() | (1ul << 63)),
        };
        *(ulong*)to = significand;
        *(ushort*)(to + 8) = signExponent;
    }

    /// <summary>Fills a vector register or memory operand in one style.</summary>
    public static void Fill(ref Rng random, Span<byte> bytes)
    {
        int style = random.Below(6);
        for (int at = 0; at < bytes.Length; at += 8)
        {
            ulong value = style switch
            {
                0 => Single(ref random) | ((ulong)Single(ref random) << 32),
                1 => Double(ref random),
                2 => Integer(ref random),
                3 => (uint)Integer(ref random) | (Integer(ref random) << 32),
                4 => SmallBytes(ref random),
                _ => random.Next(),
            };
            for (int part = at; part < Math.Min(at + 8, bytes.Length); part++)
            {
                bytes[part] = (byte)(value >> ((part - at) * 8));
            }
        }
    }

    /// <summary>Few distinct bytes, zero among them: what string compares look for.</summary>
    private static ulong SmallBytes(ref Rng random)
    {
        ulong value = 0;
        for (int at = 0; at < 64; at += 8)
        {
            value |= (ulong)random.Below(4) << at;
        }

        return value;
    }
}
