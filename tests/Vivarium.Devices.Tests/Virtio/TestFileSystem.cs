using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>A backend that answers with what it was asked, byte for byte, and looks where its segments lie.</summary>
internal sealed unsafe class TestFileSystem(GuestMemory memory) : IFileSystemBackend
{
    private int _requests;
    private int _resets;
    private int _underWay;

    /// <summary>A request that begins with this byte has to wait, and then for <see cref="Gate"/>.</summary>
    public const byte Slow = 0xAA;

    /// <summary>A request that begins with this byte has no answer.</summary>
    public const byte Silent = 0xBB;

    public ManualResetEventSlim Gate { get; } = new(true);

    public int Requests => Volatile.Read(ref _requests);

    public int Resets => Volatile.Read(ref _resets);



    /// <summary>A segment was not in RAM.</summary>
    public bool Strayed { get; private set; }

    /// <summary>Everything was forgotten while a request was under way.</summary>
    public bool ResetTooEarly { get; private set; }

    public bool TryServe(ReadOnlySpan<IoSegment> request, ReadOnlySpan<IoSegment> answer, bool mayWait, out uint written)
    {
        Interlocked.Increment(ref _underWay);
        try
        {
            written = 0;
            Strayed |= !AreInside(request) || !AreInside(answer);
            var first = request.IsEmpty ? (byte)0 : *request[0].Address;
            if (first == Slow)
            {
                if (!mayWait)
                    return false;
                Gate.Wait();
            }

            Interlocked.Increment(ref _requests);
            if (first != Silent)
                written = Copy(request, answer);
            return true;
        }
        finally
        {
            Interlocked.Decrement(ref _underWay);
        }
    }

    public void Reset()
    {
        ResetTooEarly |= Volatile.Read(ref _underWay) != 0;
        Interlocked.Increment(ref _resets);
    }

    private static uint Copy(ReadOnlySpan<IoSegment> request, ReadOnlySpan<IoSegment> answer)
    {
        var bytes = new List<byte>();
        foreach (var segment in request)
            bytes.AddRange(segment.Span);
        uint written = 0;
        foreach (var segment in answer)
        {
            var part = Math.Min(segment.Span.Length, bytes.Count - (int)written);
            bytes.GetRange((int)written, part).ToArray().CopyTo(segment.Span);
            written += (uint)part;
        }

        return written;
    }

    private bool AreInside(ReadOnlySpan<IoSegment> segments)
    {
        foreach (var segment in segments)
        {
            var inside = false;
            foreach (var slot in memory.Slots)
            {
                var offset = (ulong)(segment.Address - slot.Host);
                inside |= offset < slot.Length && segment.Length <= slot.Length - offset;
            }

            if (!inside || segment.Length == 0)
                return false;
        }

        return true;
    }
}
