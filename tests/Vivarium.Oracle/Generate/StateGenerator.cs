namespace Vivarium.Oracle.Generate;

/// <summary>Random registers before a case.</summary>
internal static unsafe class StateGenerator
{
    /// <summary>CF, PF, AF, ZF, SF, DF, OF.</summary>
    private const ulong RandomFlags = 0xCD5;

    private const ulong DirectionFlag = 0x400;

    /// <summary>Fixed bit 1 and IF: what a Linux process runs with.</summary>
    public const ulong BaseFlags = 0x202;

    public static void Fill(ref Rng random, CaseState* state)
    {
        for (int register = 0; register < 16; register++)
        {
            state->Gpr[register] = Values.Integer(ref random);
        }

        state->Rflags = BaseFlags | (random.Next() & (random.Chance(30) ? RandomFlags : RandomFlags & ~DirectionFlag));
        state->GsBase = 0;
        FillExtended(ref random, state->Xsave);
    }

    private static void FillExtended(ref Rng random, byte* area)
    {
        new Span<byte>(area, XsaveArea.Size).Clear();
        *(ulong*)(area + XsaveArea.XstateBv) = XsaveArea.Mask;
        FillX87(ref random, area);
        *(uint*)(area + XsaveArea.Mxcsr) = Mxcsr(ref random);
        for (int at = XsaveArea.Xmm0; at < XsaveArea.LegacySize; at += 16)
        {
            Values.Fill(ref random, new Span<byte>(area + at, 16));
        }

        if ((XsaveArea.Mask & XsaveArea.Avx) != 0)
        {
            bool upper = random.Chance(85);
            for (int at = 0; at < 256 && upper; at += 16)
            {
                Values.Fill(ref random, new Span<byte>(area + XsaveArea.YmmHi128Offset + at, 16));
            }
        }

        if ((XsaveArea.Mask & XsaveArea.Avx512) != 0)
        {
            FillAvx512(ref random, area);
        }
    }

    /// <summary>Now and then one of the components is in its initial state, as before a program's first instruction of the kind.</summary>
    private static void FillAvx512(ref Rng random, byte* area)
    {
        if (random.Chance(85))
        {
            for (int at = 0; at < 512; at += 32)
            {
                Values.Fill(ref random, new Span<byte>(area + XsaveArea.ZmmHi256Offset + at, 32));
            }
        }
        else
        {
            *(ulong*)(area + XsaveArea.XstateBv) &= ~XsaveArea.ZmmHi256;
        }

        if (random.Chance(85))
        {
            for (int at = 0; at < 1024; at += 64)
            {
                Values.Fill(ref random, new Span<byte>(area + XsaveArea.Hi16ZmmOffset + at, 64));
            }
        }
        else
        {
            *(ulong*)(area + XsaveArea.XstateBv) &= ~XsaveArea.Hi16Zmm;
        }

        if (random.Chance(5))
        {
            *(ulong*)(area + XsaveArea.XstateBv) &= ~XsaveArea.Opmask;
            return;
        }

        for (int register = 0; register < 8; register++)
        {
            *XsaveArea.Mask64(area, register) = MaskValue(ref random);
        }
    }

    /// <summary>For vectors of all lengths: all elements, some, the first ones, all but those, one, none.</summary>
    public static ulong MaskValue(ref Rng random) => random.Below(10) switch
    {
        0 => ulong.MaxValue,
        1 => 0,
        2 or 3 => (1ul << random.Below(1 << random.Between(1, 6))) - 1,
        4 or 5 => ulong.MaxValue << random.Below(1 << random.Between(1, 6)),
        6 => 1ul << random.Below(1 << random.Between(1, 6)),
        7 => random.Next() & random.Next(),
        _ => random.Next(),
    };

    private static void FillX87(ref Rng random, byte* area)
    {
        // Exception masks: mostly all set, as every operating system leaves them; precision and rounding at random.
        ushort fcw = (ushort)((random.Chance(75) ? 0x3F : random.Below(64)) | 0x40 | (random.Below(16) << 8));
        if (random.Chance(60))
        {
            fcw = (ushort)(0x037F | (fcw & 0x0C00));
        }

        ushort fsw = (ushort)((random.Below(8) << 11) | ((int)random.Next() & 0x4700));
        if (random.Chance(25))
        {
            fsw |= (ushort)random.Below(128);
        }

        // ES and B follow from the unmasked exceptions.
        if ((fsw & ~fcw & 0x3F) != 0)
        {
            fsw |= 0x8080;
        }

        *(ushort*)(area + XsaveArea.Fcw) = fcw;
        *(ushort*)(area + XsaveArea.Fsw) = fsw;
        area[XsaveArea.Ftw] = random.Below(3) switch { 0 => 0xFF, 1 => (byte)random.Next(), _ => (byte)(0xFF & ~(1 << random.Below(8))) };
        for (int register = 0; register < 8; register++)
        {
            Values.Extended(ref random, area + XsaveArea.St0 + (16 * register));
        }
    }

    private static uint Mxcsr(ref Rng random)
    {
        uint masks = random.Chance(75) ? 0x1F80u : (uint)random.Below(64) << 7;
        uint flags = random.Chance(30) ? (uint)random.Below(64) : 0;
        uint rounding = random.Chance(50) ? (uint)random.Below(4) << 13 : 0;
        uint denormals = random.Chance(25) ? (uint)random.Next() & 0x8040 : 0;
        return masks | flags | rounding | denormals;
    }
}
