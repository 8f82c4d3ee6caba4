using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>Physical region pages (NVMe 1.4, 4.3): where in guest memory a command's data lie.</summary>
internal static unsafe class NvmePrp
{
    /// <summary>Bytes of a command's data at most.</summary>
    public const uint MaxTransfer = 1 << 20;

    /// <summary>Pieces that so many bytes can lie in: a page each, but the first and the last.</summary>
    public const int MaxSegments = (int)(MaxTransfer / PageSize) + 1;

    private const uint PageSize = 4096;
    private const ulong PageMask = PageSize - 1;
    private const int EntryLength = sizeof(ulong);

    /// <summary>Finds the data. Every address has been checked when it returns success.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="first">PRP entry 1.</param>
    /// <param name="second">PRP entry 2.</param>
    /// <param name="length">Bytes: 1 to <see cref="MaxTransfer"/>.</param>
    /// <param name="segments">Room for <see cref="MaxSegments"/>.</param>
    /// <param name="count">How many there are.</param>
    public static NvmeStatus Find(GuestMemory memory, ulong first, ulong second, uint length, Span<IoSegment> segments, out int count)
    {
        count = 0;
        if ((first & 3) != 0)
            return NvmeStatus.InvalidPrpOffset;
        var part = Math.Min(length, PageSize - (uint)(first & PageMask));
        if (!Add(memory, first, part, segments, ref count))
            return NvmeStatus.DataTransferError;
        length -= part;
        if (length == 0)
            return NvmeStatus.Success;
        return length <= PageSize
            ? AddPage(memory, second, length, segments, ref count)
            : WalkList(memory, second, length, segments, ref count);
    }

    private static NvmeStatus WalkList(GuestMemory memory, ulong list, uint length, Span<IoSegment> segments, ref int count)
    {
        if (list % EntryLength != 0)
            return NvmeStatus.InvalidPrpOffset;
        Span<byte> entry = stackalloc byte[EntryLength];
        while (length != 0)
        {
            if (!memory.TryRead(list, entry))
                return NvmeStatus.DataTransferError;
            var page = BinaryPrimitives.ReadUInt64LittleEndian(entry);

            // The last entry of a page of the list leads to the next one, if more is to come than fits into its place.
            if ((list & PageMask) == PageSize - EntryLength && length > PageSize)
            {
                if ((page & PageMask) != 0)
                    return NvmeStatus.InvalidPrpOffset;
                list = page;
                continue;
            }

            var part = Math.Min(length, PageSize);
            if (AddPage(memory, page, part, segments, ref count) is var status and not NvmeStatus.Success)
                return status;
            length -= part;
            list += EntryLength;
        }

        return NvmeStatus.Success;
    }

    private static NvmeStatus AddPage(GuestMemory memory, ulong page, uint length, Span<IoSegment> segments, ref int count)
    {
        if ((page & PageMask) != 0)
            return NvmeStatus.InvalidPrpOffset;
        return Add(memory, page, length, segments, ref count) ? NvmeStatus.Success : NvmeStatus.DataTransferError;
    }

    /// <summary>A piece inside a page, which lies in one slot of memory as a whole.</summary>
    private static bool Add(GuestMemory memory, ulong address, uint length, Span<IoSegment> segments, ref int count)
    {
        var host = memory.TryGetRam(address, length, out var contiguous);
        if (host == null || contiguous != length)
            return false;
        if (count != 0 && segments[count - 1].Address + segments[count - 1].Length == host)
            segments[count - 1].Length += length;
        else
            segments[count++] = new IoSegment(host, length);
        return true;
    }
}
