using System.Runtime.CompilerServices;
using Vivarium.Share.Host;

namespace Vivarium.Share.Protocol;

/// <summary>
/// A request's header and arguments, copied out of memory that the guest can change at any time, and taken from the front. The
/// data of a write stay where they are.
/// </summary>
internal unsafe ref struct Request
{
    /// <summary>Room for the longest arguments: a name and the target of a link.</summary>
    public const int ArgumentRoom = 4608;

    private readonly ReadOnlySpan<IoSegment> _segments;
    private readonly byte* _end;
    private readonly long _rest;
    private byte* _next;

    private Request(ReadOnlySpan<IoSegment> segments, InHeader header, byte* arguments, int copied, long rest)
    {
        _segments = segments;
        Header = header;
        _next = arguments;
        _end = arguments + copied;
        _rest = rest;
    }

    public InHeader Header { get; }

    /// <summary>The header tells of more bytes than there are, or of fewer than itself.</summary>
    public bool IsTruncated { get; private init; }

    /// <param name="room"><see cref="ArgumentRoom"/> bytes that live as long as the request.</param>
    /// <returns>False if there is not even a header.</returns>
    public static bool TryTake(ReadOnlySpan<IoSegment> segments, byte* room, out Request request)
    {
        InHeader header;
        if (IoSegment.Gather(segments, 0, new Span<byte>(&header, sizeof(InHeader))) < sizeof(InHeader))
        {
            request = default;
            return false;
        }

        long there = IoSegment.Sum(segments);
        long told = header.Length;
        bool truncated = told < sizeof(InHeader) || told > there;
        long arguments = truncated ? 0 : told - sizeof(InHeader);
        int wanted = (int)Math.Min(arguments, header.Opcode == FuseOpcode.Write ? sizeof(TransferIn) : ArgumentRoom);
        int copied = IoSegment.Gather(segments, sizeof(InHeader), new Span<byte>(room, wanted));
        request = new Request(segments, header, room, copied, arguments - copied) { IsTruncated = truncated };
        return true;
    }

    /// <summary>Takes fixed arguments; false if they are not all there.</summary>
    public bool TryRead<T>(out T arguments)
        where T : unmanaged
    {
        if (_end - _next < sizeof(T))
        {
            arguments = default;
            return false;
        }

        arguments = Unsafe.ReadUnaligned<T>(_next);
        _next += sizeof(T);
        return true;
    }

    /// <summary>Takes a name. EINVAL if it is none, or is not ended by a NUL.</summary>
    public int TryReadName(out EntryName name)
    {
        name = default;
        return TryReadText(out byte* text, out int length) ? EntryName.TryMake(text, length, out name) : _rest != 0 ? Errno.NameTooLong : Errno.Invalid;
    }

    /// <summary>Takes text up to a NUL, which stays behind it; false if there is none.</summary>
    public bool TryReadText(out byte* text, out int length)
    {
        text = _next;
        length = new ReadOnlySpan<byte>(_next, (int)(_end - _next)).IndexOf((byte)0);
        if (length < 0)
        {
            return false;
        }

        _next += length + 1;
        return true;
    }

    /// <summary>The next item of a list that may be longer than what was copied.</summary>
    public bool TryReadItem<T>(long index, out T item)
        where T : unmanaged
    {
        T value = default;
        long offset = sizeof(InHeader) + sizeof(BatchForgetIn) + (index * sizeof(T));
        bool isThere = offset + sizeof(T) <= Header.Length && IoSegment.Gather(_segments, offset, new Span<byte>(&value, sizeof(T))) == sizeof(T);
        item = value;
        return isThere;
    }

    /// <summary>Where the data of a write are, as many segments as fit; -1 if there are fewer bytes than <paramref name="length"/>.</summary>
    public readonly int Data(long length, Span<IoSegment> window) =>
        length > _rest ? -1 : IoSegment.Slice(_segments, sizeof(InHeader) + sizeof(TransferIn), length, window);
}
