using System.Runtime.InteropServices;

namespace Vivarium.Share;

/// <summary>
/// One piece of memory of a request or an answer. It has the layout of <c>struct iovec</c> (readv(2)), so a list of them,
/// usually pointing into guest RAM, goes to the host's kernel as it is.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public readonly unsafe struct IoSegment(byte* pointer, nuint length)
{
    /// <summary>The first byte.</summary>
    public readonly byte* Pointer = pointer;

    /// <summary>The length in bytes; may be 0.</summary>
    public readonly nuint Length = length;

    /// <summary>The bytes of the whole list, at most <see cref="long.MaxValue"/>.</summary>
    internal static long Sum(ReadOnlySpan<IoSegment> segments)
    {
        ulong sum = 0;
        foreach (ref readonly IoSegment segment in segments)
        {
            sum += Math.Min(segment.Length, (ulong)long.MaxValue - sum);
        }

        return (long)sum;
    }

    /// <summary>Copies bytes from the list's byte <paramref name="skip"/> on until <paramref name="target"/> is full; says how many there were.</summary>
    internal static int Gather(ReadOnlySpan<IoSegment> segments, long skip, Span<byte> target)
    {
        int done = 0;
        foreach (ref readonly IoSegment segment in segments)
        {
            if (done == target.Length)
            {
                break;
            }

            long length = (long)segment.Length;
            if (skip >= length)
            {
                skip -= length;
                continue;
            }

            int count = (int)Math.Min(length - skip, target.Length - done);
            new ReadOnlySpan<byte>(segment.Pointer + skip, count).CopyTo(target[done..]);
            done += count;
            skip = 0;
        }

        return done;
    }

    /// <summary>Copies <paramref name="source"/> into the list from its byte <paramref name="skip"/> on, as far as there is room.</summary>
    internal static void Scatter(ReadOnlySpan<byte> source, ReadOnlySpan<IoSegment> segments, long skip)
    {
        foreach (ref readonly IoSegment segment in segments)
        {
            if (source.IsEmpty)
            {
                return;
            }

            long length = (long)segment.Length;
            if (skip >= length)
            {
                skip -= length;
                continue;
            }

            int count = (int)Math.Min(length - skip, source.Length);
            source[..count].CopyTo(new Span<byte>(segment.Pointer + skip, count));
            source = source[count..];
            skip = 0;
        }
    }

    /// <summary>
    /// Writes into <paramref name="window"/> the segments that make up the bytes from <paramref name="skip"/> on, at most
    /// <paramref name="count"/> of them, and says how many segments. The window may be too small for all.
    /// </summary>
    internal static int Slice(ReadOnlySpan<IoSegment> segments, long skip, long count, Span<IoSegment> window)
    {
        int used = 0;
        foreach (ref readonly IoSegment segment in segments)
        {
            if (count == 0 || used == window.Length)
            {
                break;
            }

            long length = (long)segment.Length;
            if (skip >= length)
            {
                skip -= length;
                continue;
            }

            long here = Math.Min(length - skip, count);
            window[used++] = new IoSegment(segment.Pointer + skip, (nuint)here);
            count -= here;
            skip = 0;
        }

        return used;
    }
}
