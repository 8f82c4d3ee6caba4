using System.Buffers.Binary;
using Vivarium.Engine;

namespace Vivarium.Gdb.Registers;

/// <summary>The XSAVE area (SDM vol. 1, 13.4): the legacy region, which is FXSAVE64's, the header and the upper halves of YMM.</summary>
internal static class XsaveArea
{
    public const int X87 = 0;
    public const int Sse = 1;
    public const int Avx = 2;

    public const int ControlWord = 0;
    public const int StatusWord = 2;
    public const int AbridgedTags = 4;
    public const int Opcode = 6;
    public const int InstructionPointer = 8;
    public const int DataPointer = 16;
    public const int Mxcsr = 24;

    /// <summary>ST0-ST7, in the order of the stack.</summary>
    public const int Stack = 32;
    public const int Xmm = 160;
    public const int YmmHigh = 576;
    public const int RegisterSize = 16;

    private const int Registers = 8;
    private const int InUse = 512;
    private const ushort InitialControlWord = 0x37F;
    private const int AvxSize = 256;

    // Values of the tag word's two-bit fields (SDM vol. 1, 8.1.7).
    private const int Valid = 0;
    private const int Zero = 1;
    private const int Special = 2;
    private const int Empty = 3;

    /// <summary>Bit of XSTATE_BV; without it the component has its initial values, whatever the area holds.</summary>
    public static bool IsInUse(CpuState state, int component) => (state.Xsave[InUse] >> component & 1) != 0;

    /// <summary>Before a part of a component is written: the rest gets its initial values if it still has them.</summary>
    public static void Use(CpuState state, int component)
    {
        if (IsInUse(state, component))
        {
            return;
        }

        Span<byte> area = state.Xsave;
        switch (component)
        {
            case X87:
                area[..Mxcsr].Clear();
                area[Stack..Xmm].Clear();
                BinaryPrimitives.WriteUInt16LittleEndian(area, InitialControlWord);
                break;
            case Sse:
                area[Xmm..(Xmm + (16 * RegisterSize))].Clear();
                break;
            default:
                area.Slice(YmmHigh, AvxSize).Clear();
                break;
        }

        area[InUse] |= (byte)(1 << component);
    }

    /// <summary>A word of the x87 environment.</summary>
    public static ulong ReadWord(CpuState state, int offset)
        => IsInUse(state, X87) ? BinaryPrimitives.ReadUInt16LittleEndian(state.Xsave.AsSpan(offset)) : offset == ControlWord ? InitialControlWord : 0u;

    public static bool WriteWord(CpuState state, int offset, ulong value)
    {
        Use(state, X87);
        BinaryPrimitives.WriteUInt16LittleEndian(state.Xsave.AsSpan(offset), (ushort)value);
        return true;
    }

    /// <summary>The lower half of a pointer of the x87 environment.</summary>
    public static ulong ReadPointer(CpuState state, int offset)
        => IsInUse(state, X87) ? BinaryPrimitives.ReadUInt32LittleEndian(state.Xsave.AsSpan(offset)) : 0;

    public static bool WritePointer(CpuState state, int offset, ulong value)
    {
        Use(state, X87);
        BinaryPrimitives.WriteUInt32LittleEndian(state.Xsave.AsSpan(offset), (uint)value);
        return true;
    }

    public static ulong ReadMxcsr(CpuState state) => BinaryPrimitives.ReadUInt32LittleEndian(state.Xsave.AsSpan(Mxcsr));

    /// <summary>Reserved bits are the engine's to clear.</summary>
    public static bool WriteMxcsr(CpuState state, ulong value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(state.Xsave.AsSpan(Mxcsr), (uint)value);
        return true;
    }

    /// <summary>The whole tag word, of which the area keeps only which registers are empty (SDM vol. 1, 10.5.1).</summary>
    public static ulong ReadTags(CpuState state)
    {
        if (!IsInUse(state, X87))
        {
            return ushort.MaxValue;
        }

        int top = (int)(ReadWord(state, StatusWord) >> 11) & 7;
        ulong tags = 0;
        for (int physical = 0; physical < Registers; physical++)
        {
            int tag = (state.Xsave[AbridgedTags] >> physical & 1) == 0
                ? Empty
                : TagOf(state.Xsave.AsSpan(Stack + (((physical - top) & 7) * RegisterSize), 10));
            tags |= (ulong)tag << (physical * 2);
        }

        return tags;
    }

    public static bool WriteTags(CpuState state, ulong value)
    {
        Use(state, X87);
        int abridged = 0;
        for (int physical = 0; physical < Registers; physical++)
        {
            abridged |= (value >> (physical * 2) & 3) == Empty ? 0 : 1 << physical;
        }

        state.Xsave[AbridgedTags] = (byte)abridged;
        return true;
    }

    private static int TagOf(ReadOnlySpan<byte> number)
    {
        ulong mantissa = BinaryPrimitives.ReadUInt64LittleEndian(number);
        int exponent = BinaryPrimitives.ReadUInt16LittleEndian(number[8..]) & 0x7FFF;
        return exponent switch
        {
            0 when mantissa == 0 => Zero,
            0 or 0x7FFF => Special,
            _ => mantissa >> 63 != 0 ? Valid : Special,
        };
    }
}
