using System.Buffers.Binary;
using Vivarium.Engine;

namespace Vivarium.Engine.Software;

/// <summary>A stack that is about to become the current one, or already is.</summary>
internal struct StackTarget
{
    public NativeSegment Segment;
    public ulong Pointer;

    /// <summary>Stack-address size: 16, 32 or 64.</summary>
    public int Bits;

    /// <summary>With whose rights it is written.</summary>
    public AddressSpace Space;

    /// <summary>Error code of #SS if it is too small.</summary>
    public uint FaultCode;
}

// The stack (SDM vol. 1, 6.2).
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Stack-address size: 64 in 64-bit mode, else by SS.B.</summary>
    public int StackBits => Code64 ? 64 : StackBitsOf(S->Ss);

    public static int StackBitsOf(in NativeSegment stack) => (stack.Attributes & SegmentRegister.Big) != 0 ? 32 : 16;

    /// <summary>The current stack, for accesses with the rights of the current privilege level.</summary>
    internal StackTarget CurrentStack(uint faultCode) => new()
    {
        Segment = S->Ss,
        Pointer = S->Gpr[4],
        Bits = StackBits,
        Space = DataSpace,
        FaultCode = faultCode,
    };

    /// <summary>Reads at a distance from the top of the stack, moving nothing.</summary>
    public ulong PeekStack(ulong distance, int size)
    {
        ulong offset = (S->Gpr[4] + distance) & StackMask(StackBits);
        return Load(SegmentedAddress(SsIndex, offset, size, Access.Read), size);
    }

    public void Push(int size, ulong value)
    {
        ulong offset = (S->Gpr[4] - (uint)size) & StackMask(StackBits);
        Store(SegmentedAddress(SsIndex, offset, size, Access.Write), size, value);
        SetStackPointer(offset);
    }

    /// <summary>Moves the stack pointer up.</summary>
    public void ReleaseStack(ulong bytes) => SetStackPointer(S->Gpr[4] + bytes);

    /// <summary>Sets RSP, ESP or SP.</summary>
    public void SetStackPointer(ulong value) => WriteGpr(4, StackBits / 8, value);

    /// <summary>
    /// Pushes values of <paramref name="size"/> bytes, the first one first, on a stack that need not be current yet.
    /// Either all are written or none. Returns the new stack pointer; no register is changed.
    /// </summary>
    internal ulong PushFrame(in StackTarget stack, ReadOnlySpan<ulong> values, int size)
    {
        ulong mask = StackMask(stack.Bits);
        ulong top = stack.Pointer & mask;
        uint total = (uint)(values.Length * size);
        ulong bottom = (top - total) & mask;
        if (bottom < top || stack.Bits == 64)
        {
            ProbeFrame(stack, top, values.Length, size);
            Span<byte> frame = stackalloc byte[values.Length * 8];
            for (int i = 0; i < values.Length; i++)
            {
                Span<byte> place = frame[((values.Length - 1 - i) * size)..];
                WriteValue(place, size, values[i]);
            }

            StoreBytes(StackAddress(stack, bottom, (int)total), frame[..(int)total], stack.Space);
            return bottom;
        }

        // The frame wraps around the end of the segment.
        for (int i = 1; i <= values.Length; i++)
        {
            Probe(StackAddress(stack, (top - (uint)(i * size)) & mask, size), size, Access.Write, stack.Space);
        }

        for (int i = 1; i <= values.Length; i++)
        {
            Store(StackAddress(stack, (top - (uint)(i * size)) & mask, size), size, values[i - 1], stack.Space);
        }

        return bottom;
    }

    /// <summary>A page fault is that of the first value pushed to the missing page: the highest one.</summary>
    private void ProbeFrame(in StackTarget stack, ulong top, int count, int size)
    {
        bool onePage = ((top - (uint)size) ^ (top - (uint)(count * size))) < 0x1000;
        for (int i = 1; i <= (onePage ? 1 : count); i++)
        {
            Probe(StackAddress(stack, top - (uint)(i * size), size), size, Access.Write, stack.Space);
        }
    }

    private ulong StackAddress(in StackTarget stack, ulong offset, int size)
    {
        if (stack.Bits == 64)
        {
            return IsCanonical(offset) && IsCanonical(offset + (uint)size - 1) ? offset : throw GuestException.Stack(stack.FaultCode);
        }

        return WithinLimit(stack.Segment, (uint)offset, size)
            ? (uint)(stack.Segment.Base + offset)
            : throw GuestException.Stack(stack.FaultCode);
    }

    private static ulong StackMask(int bits) => bits switch
    {
        16 => ushort.MaxValue,
        32 => uint.MaxValue,
        _ => ulong.MaxValue,
    };

    private static void WriteValue(Span<byte> place, int size, ulong value)
    {
        switch (size)
        {
            case 2:
                BinaryPrimitives.WriteUInt16LittleEndian(place, (ushort)value);
                break;
            case 4:
                BinaryPrimitives.WriteUInt32LittleEndian(place, (uint)value);
                break;
            default:
                BinaryPrimitives.WriteUInt64LittleEndian(place, value);
                break;
        }
    }
}
