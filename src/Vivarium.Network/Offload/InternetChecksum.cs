using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Vivarium.Network;

/// <summary>
/// The checksum of the Internet protocols (RFC 1071): the ones' complement sum of 16-bit words. Sums are made of words in
/// the host's byte order, which RFC 1071 (2.B) allows: only what is stored is in that order too.
/// </summary>
internal static class InternetChecksum
{
    /// <summary>Adds the bytes to a sum, which stays far below overflow for any frame.</summary>
    public static ulong Add(ulong sum, ReadOnlySpan<byte> bytes)
    {
        ref var start = ref MemoryMarshal.GetReference(bytes);
        var length = bytes.Length;
        var at = 0;
        if (Vector256.IsHardwareAccelerated && length >= 2 * Vector256<byte>.Count)
        {
            // 32-bit words are added in 64-bit lanes: 2^16 = 1 modulo 2^16 - 1, so their width does not matter.
            var low = Vector256<ulong>.Zero;
            var high = Vector256<ulong>.Zero;
            for (; at <= length - Vector256<byte>.Count; at += Vector256<byte>.Count)
            {
                var words = Vector256.LoadUnsafe(ref start, (nuint)at).AsUInt64();
                low += words & Vector256.Create(0xFFFFFFFFUL);
                high += Vector256.ShiftRightLogical(words, 32);
            }
            sum += Vector256.Sum(low) + Vector256.Sum(high);
        }
        for (; at <= length - sizeof(uint); at += sizeof(uint))
            sum += Unsafe.ReadUnaligned<uint>(ref Unsafe.Add(ref start, at));
        if (at <= length - sizeof(ushort))
        {
            sum += Unsafe.ReadUnaligned<ushort>(ref Unsafe.Add(ref start, at));
            at += sizeof(ushort);
        }
        if (at < length)
            sum += Unsafe.Add(ref start, at);
        return sum;
    }

    /// <summary>Folds a sum to 16 bits.</summary>
    public static ushort Fold(ulong sum)
    {
        sum = (sum & 0xFFFFFFFF) + (sum >> 32);
        sum = (sum & 0xFFFF) + (sum >> 16 & 0xFFFF) + (sum >> 32);
        sum = (sum & 0xFFFF) + (sum >> 16);
        sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)sum;
    }

    /// <summary>The checksum to store, as it lies in memory on this host.</summary>
    public static ushort Of(ReadOnlySpan<byte> bytes) => (ushort)~Fold(Add(0, bytes));

    /// <summary>Zero would mean "no checksum" in UDP (RFC 768); in ones' complement 0xFFFF is zero too.</summary>
    public static ushort NonZero(ushort checksum) => checksum == 0 ? (ushort)0xFFFF : checksum;

    /// <summary>The sum of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1): addresses, protocol, length.</summary>
    public static ulong PseudoHeader(ReadOnlySpan<byte> addresses, byte protocol, int length)
    {
        Span<byte> rest = stackalloc byte[8];
        BinaryPrimitives.WriteInt32BigEndian(rest, length);
        rest[4..].Clear();
        rest[7] = protocol;
        return Add(Add(0, addresses), rest);
    }

    /// <summary>Brings a stored checksum up to date when part of what it covers changes (RFC 1624, equation 3).</summary>
    /// <param name="oldSum">The sum of the bytes before, which begin at an even offset.</param>
    public static void Update(Span<byte> checksum, ulong oldSum, ulong newSum)
    {
        var sum = (ulong)(ushort)~MemoryMarshal.Read<ushort>(checksum) + (ushort)~Fold(oldSum) + newSum;
        MemoryMarshal.Write(checksum, (ushort)~Fold(sum));
    }
}
