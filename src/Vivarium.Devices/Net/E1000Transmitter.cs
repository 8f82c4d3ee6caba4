using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// How an 82540EM makes frames of descriptors (8254x developer's manual, 3.3 to 3.6): legacy and TCP/IP ones, checksums, large
/// segments, VLAN tags. Used by one thread at a time; what it sends leaves through <paramref name="send"/>.
/// </summary>
/// <param name="memory">Where descriptors and data are.</param>
/// <param name="send">Takes a finished frame, which it may change, and what is left to the network.</param>
/// <param name="large">Whether TCP over IPv4, or IPv6, may be left to be cut by the network.</param>
internal sealed class E1000Transmitter(GuestMemory memory, E1000Transmitter.Sender send, Func<bool, bool> large)
{
    public delegate void Sender(Span<byte> frame, in FrameOffload offload);

    /// <summary>More than the largest IP packet with its headers.</summary>
    public const int Capacity = 0x1_1000;

    // Descriptor bits, in its upper half.
    private const ulong EndOfPacket = 1 << 24;
    private const ulong InsertChecksum = 1 << 26;
    private const ulong ReportStatus = 1 << 27;
    private const ulong Extended = 1 << 29;
    private const ulong InsertTag = 1 << 30;
    private const ulong Segment = 1 << 26;
    private const ulong DataDescriptor = 1 << 20;
    private const ulong IpChecksumOption = 1ul << 40;
    private const ulong TransportChecksumOption = 1ul << 41;
    private const ulong LegacyLengthMask = 0xFFFF;
    private const ulong DataLengthMask = 0xF_FFFF;
    private const int TagShift = 48;

    private readonly byte[] _frame = GC.AllocateUninitializedArray<byte>(Capacity, pinned: true);
    private readonly byte[] _segment = GC.AllocateUninitializedArray<byte>(Capacity, pinned: true);
    private E1000Context _context;
    private E1000Context _segmentation;
    private int _length;
    private bool _isTooLong;

    /// <summary>The first data descriptor of the frame, which has the options.</summary>
    private ulong _first;
    private bool _hasFirst;

    /// <summary>CTRL.VME and VET: whether tags are inserted, and of what type.</summary>
    public ushort? TagType { get; set; }

    /// <summary>TCTL.PSP.</summary>
    public bool PadsShortFrames { get; set; }

    /// <summary>A context for segmentation was seen since this was last cleared.</summary>
    public bool SawSegmentation { get; set; }

    /// <summary>Takes a descriptor and sends the frame that it completes. Returns true if the guest wants its end reported.</summary>
    public bool Take(ulong low, ulong high)
    {
        if ((high & Extended) == 0)
        {
            Gather(low, (int)(high & LegacyLengthMask));
            if ((high & EndOfPacket) != 0)
                FinishLegacy(high);
        }
        else if ((high & DataDescriptor) == 0)
        {
            var context = new E1000Context(low, high);
            if (context.IsSegmentation)
            {
                _segmentation = context;
                SawSegmentation = true;
            }
            else
            {
                _context = context;
            }
        }
        else
        {
            if (!_hasFirst)
                (_first, _hasFirst) = (high, true);
            Gather(low, (int)(high & DataLengthMask));
            if ((high & EndOfPacket) != 0)
                FinishExtended(high);
        }

        return (high & ReportStatus) != 0;
    }

    public void Reset()
    {
        _context = default;
        _segmentation = default;
        StartFrame();
    }

    public E1000TransmitState Save() => new()
    {
        ContextLow = _context.Low,
        ContextHigh = _context.High,
        SegmentationLow = _segmentation.Low,
        SegmentationHigh = _segmentation.High,
        Frame = _frame[.._length],
        First = _first,
        HasFirst = _hasFirst,
        IsTooLong = _isTooLong,
    };

    public void Restore(E1000TransmitState state)
    {
        _context = new E1000Context(state.ContextLow, state.ContextHigh);
        _segmentation = new E1000Context(state.SegmentationLow, state.SegmentationHigh);
        state.Frame.CopyTo(_frame, 0);
        _length = state.Frame.Length;
        _first = state.First;
        _hasFirst = state.HasFirst;
        _isTooLong = state.IsTooLong;
    }

    private void StartFrame()
    {
        _length = 0;
        _isTooLong = false;
        _hasFirst = false;
    }

    private void Gather(ulong address, int length)
    {
        // Room is left for a tag.
        _isTooLong |= length > Capacity - EthernetFrame.VlanTagLength - _length;
        if (_isTooLong)
            return;
        DmaMemory.Read(memory, address, _frame.AsSpan(_length, length));
        _length += length;
    }

    private void FinishLegacy(ulong last)
    {
        if (IsFrame)
        {
            var offset = (int)(last >> 16) & 0xFF;
            var start = (int)(last >> 40) & 0xFF;
            if ((last & InsertChecksum) != 0)
                PutChecksum(_frame.AsSpan(0, _length), start, _length, offset);
            Send(_frame, _length, last, default);
        }

        StartFrame();
    }

    private bool IsFrame => !_isTooLong && _length >= EthernetFrame.HeaderLength;

    private void FinishExtended(ulong last)
    {
        if (IsFrame)
        {
            if ((_first & Segment) == 0)
            {
                PutChecksums(_frame.AsSpan(0, _length), _context);
                Send(_frame, _length, last, default);
            }
            else if (CanBeLeft(last))
            {
                SendLarge(last);
            }
            else
            {
                SendSegments(last);
            }
        }

        StartFrame();
    }

    /// <summary>The network cuts TCP segments whose headers stand where they do in all plain packets.</summary>
    private bool CanBeLeft(ulong last)
    {
        const int greatestPacket = 0xFFFF;
        var context = _segmentation;
        return context.IsTcp && (last & InsertTag) == 0 && (_first & TransportChecksumOption) != 0
            && context.IpStart == EthernetFrame.HeaderLength && context.TransportStart >= EthernetFrame.HeaderLength + 20
            && context.HeaderLength >= context.TransportStart + 20 && context.HeaderLength < _length
            && context.TransportChecksum == context.TransportStart + 16 && context.SegmentSize != 0
            && _length - EthernetFrame.HeaderLength <= greatestPacket
            && EthernetFrame.Type(_frame) == (context.IsIPv4 ? EthernetFrame.TypeIPv4 : EthernetFrame.TypeIPv6)
            && large(context.IsIPv4);
    }

    private void SendLarge(ulong last)
    {
        var context = _segmentation;
        var frame = _frame.AsSpan(0, _length);
        PutIpLength(frame, context);
        if ((_first & IpChecksumOption) != 0)
            PutChecksum(frame, context.IpStart, Math.Min(context.IpEnd + 1, _length), context.IpChecksum);
        var offload = new FrameOffload
        {
            Flags = FrameOffload.NeedsChecksum,
            GsoType = context.IsIPv4 ? FrameOffload.GsoTcpV4 : FrameOffload.GsoTcpV6,
            HeaderLength = (ushort)context.HeaderLength,
            GsoSize = (ushort)context.SegmentSize,
            ChecksumStart = (ushort)context.TransportStart,
            ChecksumOffset = (ushort)(context.TransportChecksum - context.TransportStart),
        };
        Send(_frame, _length, last, offload);
    }

    /// <summary>Each segment gets the headers with its own length, number and flags (3.5.7).</summary>
    private void SendSegments(ulong last)
    {
        const int identification = 4, sequence = 4, flags = 13;
        const byte finish = 1 << 0, push = 1 << 3;
        var context = _segmentation;
        var header = context.HeaderLength;
        if (context.SegmentSize == 0)
            return;
        var number = 0;
        for (var offset = header; offset < _length; offset += context.SegmentSize, number++)
        {
            var payload = Math.Min(context.SegmentSize, _length - offset);
            var length = header + payload;
            var segment = _segment.AsSpan(0, length);
            _frame.AsSpan(0, header).CopyTo(segment);
            _frame.AsSpan(offset, payload).CopyTo(segment[header..]);
            PutIpLength(segment, context);
            if (context.IsIPv4 && TryField(segment, context.IpStart + identification, sizeof(ushort), out var field))
                BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)(BinaryPrimitives.ReadUInt16BigEndian(field) + number));
            if (context.IsTcp)
            {
                if (TryField(segment, context.TransportStart + sequence, sizeof(uint), out field))
                    BinaryPrimitives.WriteUInt32BigEndian(field, BinaryPrimitives.ReadUInt32BigEndian(field) + (uint)(offset - header));
                if (offset + payload < _length && TryField(segment, context.TransportStart + flags, 1, out field))
                    field[0] &= unchecked((byte)~(finish | push));
            }
            else if (TryField(segment, context.TransportStart + 4, sizeof(ushort), out field))
            {
                BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)(length - context.TransportStart));
            }

            // The driver's pseudo header lacks the length, which is each segment's own.
            if ((_first & TransportChecksumOption) != 0 && TryField(segment, context.TransportChecksum, sizeof(ushort), out field))
            {
                var sum = (uint)BinaryPrimitives.ReadUInt16BigEndian(field) + (uint)(length - context.TransportStart);
                BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)((sum & 0xFFFF) + (sum >> 16)));
            }

            PutChecksums(segment, context);
            Send(_segment, length, last, default);
        }
    }

    private static void PutIpLength(Span<byte> frame, E1000Context context)
    {
        const int lengthV4 = 2, lengthV6 = 4, headerV6 = 40;
        var length = frame.Length - context.IpStart - (context.IsIPv4 ? 0 : headerV6);
        if (TryField(frame, context.IpStart + (context.IsIPv4 ? lengthV4 : lengthV6), sizeof(ushort), out var field))
            BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)length);
    }

    private void PutChecksums(Span<byte> frame, E1000Context context)
    {
        if ((_first & IpChecksumOption) != 0)
            PutChecksum(frame, context.IpStart, Math.Min(context.IpEnd + 1, frame.Length), context.IpChecksum);
        if ((_first & TransportChecksumOption) != 0)
            PutChecksum(frame, context.TransportStart, context.TransportEnd == 0 ? frame.Length : Math.Min(context.TransportEnd + 1, frame.Length), context.TransportChecksum);
    }

    /// <summary>Does nothing where the field or the range is not in the frame. A UDP checksum of zero would say that there is none.</summary>
    private static void PutChecksum(Span<byte> frame, int start, int end, int offset)
    {
        if (start >= end || !TryField(frame, offset, sizeof(ushort), out var field))
            return;
        var sum = EthernetFrame.Checksum(frame[start..end]);
        BinaryPrimitives.WriteUInt16BigEndian(field, sum == 0 ? (ushort)0xFFFF : sum);
    }

    private static bool TryField(Span<byte> frame, int offset, int length, out Span<byte> field)
    {
        field = offset + length <= frame.Length ? frame.Slice(offset, length) : default;
        return offset + length <= frame.Length;
    }

    private void Send(byte[] buffer, int length, ulong last, in FrameOffload offload)
    {
        if ((last & InsertTag) != 0 && TagType is { } type)
        {
            const int tagged = EthernetFrame.TypeOffset + EthernetFrame.VlanTagLength;
            buffer.AsSpan(EthernetFrame.TypeOffset, length - EthernetFrame.TypeOffset).CopyTo(buffer.AsSpan(tagged));
            BinaryPrimitives.WriteUInt16BigEndian(buffer.AsSpan(EthernetFrame.TypeOffset), type);
            BinaryPrimitives.WriteUInt16BigEndian(buffer.AsSpan(EthernetFrame.TypeOffset + sizeof(ushort)), (ushort)(last >> TagShift));
            length += EthernetFrame.VlanTagLength;
        }

        if (PadsShortFrames && length < EthernetFrame.MinimumLength)
        {
            buffer.AsSpan(length, EthernetFrame.MinimumLength - length).Clear();
            length = EthernetFrame.MinimumLength;
        }

        send(buffer.AsSpan(0, length), offload);
    }
}
