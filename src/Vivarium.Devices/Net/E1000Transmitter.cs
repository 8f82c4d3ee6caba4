using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// How an 82540EM makes frames of descriptors (8254x developer's manual, 3.3 to 3.6): legacy and TCP/IP ones, checksums, large
/// segments, VLAN tags. Used by one thread at a time; what it sends leaves through a delegate.
/// </summary>
internal sealed class E1000Transmitter
{
    public delegate void Sender(Span<byte> frame, in FrameOffload offload);

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

    private readonly GuestMemory _memory;
    private readonly Sender _send;
    private readonly OffloadSender _offload;
    private readonly byte[] _frame = GC.AllocateUninitializedArray<byte>(OffloadSender.Capacity, pinned: true);
    private E1000Context _context;
    private E1000Context _segmentation;
    private int _length;
    private bool _isTooLong;

    /// <summary>The first data descriptor of the frame, which has the options.</summary>
    private ulong _first;
    private bool _hasFirst;

    /// <summary>The last one, which says whether there is to be a tag.</summary>
    private ulong _last;

    /// <param name="memory">Where descriptors and data are.</param>
    /// <param name="send">Takes a finished frame, which it may change, and what is left to the network.</param>
    /// <param name="large">Whether TCP over IPv4, or IPv6, may be left to be cut by the network.</param>
    public E1000Transmitter(GuestMemory memory, Sender send, Func<bool, bool> large)
    {
        _memory = memory;
        _send = send;
        _offload = new OffloadSender(Finish, large);
    }

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
        _isTooLong |= length > OffloadSender.Capacity - EthernetFrame.VlanTagLength - _length;
        if (_isTooLong)
            return;
        DmaMemory.Read(_memory, address, _frame.AsSpan(_length, length));
        _length += length;
    }

    private void FinishLegacy(ulong last)
    {
        if (IsFrame)
        {
            var offset = (int)(last >> 16) & 0xFF;
            var start = (int)(last >> 40) & 0xFF;
            if ((last & InsertChecksum) != 0)
                OffloadSender.PutChecksum(_frame.AsSpan(0, _length), start, _length, offset);
            _last = last;
            Finish(_frame, _length, default);
        }

        StartFrame();
    }

    private bool IsFrame => !_isTooLong && _length >= EthernetFrame.HeaderLength;

    private void FinishExtended(ulong last)
    {
        if (IsFrame)
        {
            var segments = (_first & Segment) != 0;
            var plan = (segments ? _segmentation : _context).Plan((_first & IpChecksumOption) != 0, (_first & TransportChecksumOption) != 0);
            _last = last;
            if (segments)
                _offload.SendLarge(_frame, _length, plan, mayBeLeft: (last & InsertTag) == 0);
            else
                _offload.SendWhole(_frame, _length, plan);
        }

        StartFrame();
    }

    private void Finish(byte[] buffer, int length, in FrameOffload offload)
    {
        if ((_last & InsertTag) != 0 && TagType is { } type)
            length = EthernetFrame.InsertTag(buffer, length, type, (ushort)(_last >> TagShift));
        if (PadsShortFrames)
            length = EthernetFrame.Pad(buffer, length);
        _send(buffer.AsSpan(0, length), offload);
    }
}
