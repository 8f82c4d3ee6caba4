using System.Runtime.InteropServices;

namespace Vivarium.Storage;

/// <summary>
/// One piece of memory that takes part in a vectored transfer. It has the layout of <c>struct iovec</c> (readv(2)), so a
/// list of them, usually pointing into guest RAM, goes to the host's kernel as it is.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public readonly unsafe struct IoSegment(byte* pointer, nuint length)
{
    /// <summary>The first byte.</summary>
    public readonly byte* Pointer = pointer;

    /// <summary>The length in bytes; may be 0.</summary>
    public readonly nuint Length = length;

    /// <summary>The bytes of the whole list.</summary>
    /// <exception cref="OverflowException">The sum is no <see cref="long"/>.</exception>
    public static long Sum(ReadOnlySpan<IoSegment> segments)
    {
        long sum = 0;
        foreach (ref readonly IoSegment segment in segments)
        {
            sum = checked(sum + (long)segment.Length);
        }

        return sum;
    }

    /// <summary>Copies the list's bytes, from its byte <paramref name="skip"/> on, to <paramref name="target"/> until that is full.</summary>
    internal static void Gather(ReadOnlySpan<IoSegment> segments, long skip, Span<byte> target)
    {
        foreach (ref readonly IoSegment segment in segments)
        {
            long length = (long)segment.Length;
            if (skip >= length)
            {
                skip -= length;
                continue;
            }

            int count = (int)Math.Min(length - skip, target.Length);
            new ReadOnlySpan<byte>(segment.Pointer + skip, count).CopyTo(target);
            target = target[count..];
            skip = 0;
            if (target.IsEmpty)
            {
                return;
            }
        }
    }

    /// <summary>Copies <paramref name="source"/> into the list from its byte <paramref name="skip"/> on.</summary>
    internal static void Scatter(ReadOnlySpan<byte> source, ReadOnlySpan<IoSegment> segments, long skip)
    {
        foreach (ref readonly IoSegment segment in segments)
        {
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
            if (source.IsEmpty)
            {
                return;
            }
        }
    }

    /// <summary>Fills <paramref name="count"/> bytes of the list, from its byte <paramref name="skip"/> on, with zeroes.</summary>
    internal static void Clear(ReadOnlySpan<IoSegment> segments, long skip, long count)
    {
        foreach (ref readonly IoSegment segment in segments)
        {
            long length = (long)segment.Length;
            if (skip >= length)
            {
                skip -= length;
                continue;
            }

            long here = Math.Min(length - skip, count);
            NativeMemory.Clear(segment.Pointer + skip, (nuint)here);
            count -= here;
            skip = 0;
            if (count == 0)
            {
                return;
            }
        }
    }

    /// <summary>
    /// Writes into <paramref name="window"/> the segments that make up the bytes from <paramref name="skip"/> on, at most
    /// <paramref name="count"/> of them. The window may be too small for all: the bytes covered are returned.
    /// </summary>
    internal static long Slice(ReadOnlySpan<IoSegment> segments, long skip, long count, Span<IoSegment> window, out int used)
    {
        used = 0;
        long covered = 0;
        foreach (ref readonly IoSegment segment in segments)
        {
            long length = (long)segment.Length;
            if (skip >= length)
            {
                skip -= length;
                continue;
            }

            long here = Math.Min(length - skip, count - covered);
            window[used++] = new IoSegment(segment.Pointer + skip, (nuint)here);
            covered += here;
            skip = 0;
            if (covered == count || used == window.Length)
            {
                break;
            }
        }

        return covered;
    }
}
