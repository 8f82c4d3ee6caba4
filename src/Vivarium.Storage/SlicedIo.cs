namespace Vivarium.Storage;

/// <summary>Transfers of a part of a segment list, without a list of its own on the heap.</summary>
internal static class SlicedIo
{
    /// <summary>The segments that are cut at a time.</summary>
    public const int Window = 64;

    public delegate void Transfer<TTarget>(TTarget target, long offset, ReadOnlySpan<IoSegment> segments);

    /// <summary>Transfers <paramref name="length"/> bytes of the list from its byte <paramref name="skip"/> on.</summary>
    public static void Run<TTarget>(TTarget target, Transfer<TTarget> transfer, long offset, ReadOnlySpan<IoSegment> segments, long skip, long length)
    {
        Span<IoSegment> window = stackalloc IoSegment[Window];
        while (length > 0)
        {
            long covered = IoSegment.Slice(segments, skip, length, window, out int used);
            transfer(target, offset, window[..used]);
            offset += covered;
            skip += covered;
            length -= covered;
        }
    }
}
