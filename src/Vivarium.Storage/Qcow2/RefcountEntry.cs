using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Vivarium.Storage.Qcow2;

/// <summary>
/// One count in a refcount block: 2^refcount_order bits, big-endian; counts of less than a byte begin at the byte's least
/// significant bit.
/// </summary>
internal static unsafe class RefcountEntry
{
    public static ulong Read(byte* block, int index, int order) => order switch
    {
        0 => (ulong)(block[index >> 3] >> (index & 7)) & 1,
        1 => (ulong)(block[index >> 2] >> (2 * (index & 3))) & 3,
        2 => (ulong)(block[index >> 1] >> (4 * (index & 1))) & 15,
        3 => block[index],
        4 => BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<ushort>(block + (2L * index))),
        5 => BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<uint>(block + (4L * index))),
        _ => BinaryPrimitives.ReverseEndianness(Unsafe.ReadUnaligned<ulong>(block + (8L * index))),
    };

    public static void Write(byte* block, int index, int order, ulong value)
    {
        switch (order)
        {
            case 0:
                SetBits(block + (index >> 3), index & 7, 1, value);
                break;
            case 1:
                SetBits(block + (index >> 2), 2 * (index & 3), 3, value);
                break;
            case 2:
                SetBits(block + (index >> 1), 4 * (index & 1), 15, value);
                break;
            case 3:
                block[index] = (byte)value;
                break;
            case 4:
                Unsafe.WriteUnaligned(block + (2L * index), BinaryPrimitives.ReverseEndianness((ushort)value));
                break;
            case 5:
                Unsafe.WriteUnaligned(block + (4L * index), BinaryPrimitives.ReverseEndianness((uint)value));
                break;
            default:
                Unsafe.WriteUnaligned(block + (8L * index), BinaryPrimitives.ReverseEndianness(value));
                break;
        }
    }

    private static void SetBits(byte* at, int shift, int mask, ulong value) => *at = (byte)((*at & ~(mask << shift)) | ((int)value << shift));
}
