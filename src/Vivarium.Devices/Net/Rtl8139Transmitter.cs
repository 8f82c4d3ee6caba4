using System.Buffers.Binary;
using Vivarium.Memory;
using static Vivarium.Devices.Rtl8139Registers;

namespace Vivarium.Devices;

/// <summary>
/// How an RTL8139C+ makes frames (data sheet, 6.3 and 8): of a buffer in the classic mode, of descriptors in the C+ mode, with
/// checksums, large segments and VLAN tags. Used by one thread at a time; what it sends leaves through a delegate.
/// </summary>
internal sealed class Rtl8139Transmitter
{
    public delegate void Sender(Span<byte> frame, in FrameOffload offload);

    // Descriptor, first dword; the second has the VLAN tag.
    private const uint LargeSend = 1 << 27;
    private const int SegmentSizeShift = 16;
    private const uint SegmentSizeMask = 0x7FF;
    private const uint IpChecksum = 1 << 18;
    private const uint UdpChecksum = 1 << 17;
    private const uint TcpChecksum = 1 << 16;
    private const uint LengthMask = 0xFFFF;
    private const uint AddTag = 1 << 17;

    private readonly GuestMemory _memory;
    private readonly Sender _send;
    private readonly OffloadSender _offload;
    private readonly byte[] _frame = GC.AllocateUninitializedArray<byte>(OffloadSender.Capacity, pinned: true);
    private int _length;
    private bool _isTooLong;

    /// <summary>The tag that the frame gets, as it is on the wire; null for none.</summary>
    private ushort? _tag;

    public Rtl8139Transmitter(GuestMemory memory, Sender send, Func<bool, bool> large)
    {
        _memory = memory;
        _send = send;
        _offload = new OffloadSender(Finish, large);
    }

    /// <summary>The bytes of a frame that is not complete yet.</summary>
    public ReadOnlySpan<byte> Begun => _frame.AsSpan(0, _length);

    /// <summary>Forgets a frame that was begun.</summary>
    public void Reset() => Begin([]);

    /// <summary>Goes on with a frame that was begun before.</summary>
    public void Begin(ReadOnlySpan<byte> bytes)
    {
        _isTooLong = false;
        _tag = null;
        bytes.CopyTo(_frame);
        _length = bytes.Length;
    }

    /// <summary>Sends a buffer of the classic mode.</summary>
    public void SendBuffer(uint address, int length)
    {
        Reset();
        Gather(address, length);
        if (_length >= EthernetFrame.HeaderLength)
            Finish(_frame, _length, default);
        Reset();
    }

    /// <summary>Takes a descriptor of the C+ mode, and sends the frame that it completes. Returns true if it does.</summary>
    public bool Take(uint control, uint tag, ulong address)
    {
        if ((control & DescriptorFirst) != 0)
            Reset();
        Gather(address, (int)(control & LengthMask));
        if ((control & DescriptorLast) == 0)
            return false;
        _tag = (tag & AddTag) != 0 ? BinaryPrimitives.ReverseEndianness((ushort)tag) : null;
        if (!_isTooLong && _length >= EthernetFrame.HeaderLength)
            SendFrame(control);
        Reset();
        return true;
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

    private void SendFrame(uint control)
    {
        if (!TryPlan(control, out var plan))
            Finish(_frame, _length, default);
        else if (plan.SegmentSize != 0)
            _offload.SendLarge(_frame, _length, plan, mayBeLeft: _tag is null);
        else
            _offload.SendWhole(_frame, _length, plan);
    }

    /// <summary>Finds the headers of an IPv4 packet, the only ones that the card knows. False if nothing is to be done to it.</summary>
    private bool TryPlan(uint control, out OffloadPlan plan)
    {
        const int ip = EthernetFrame.HeaderLength;
        const int shortestIp = 20, shortestTcp = 20, shortestUdp = 8;
        const int totalLength = 2, fragment = 6, protocol = 9, ipChecksum = 10, tcpChecksum = 16, udpChecksum = 6, tcpLength = 12;
        const int fragmentBits = 0x3FFF;
        plan = default;
        var frame = _frame.AsSpan(0, _length);
        var isLarge = (control & LargeSend) != 0;
        if ((!isLarge && (control & (IpChecksum | TcpChecksum | UdpChecksum)) == 0)
            || _length < ip + shortestIp || EthernetFrame.Type(frame) != EthernetFrame.TypeIPv4 || frame[ip] >> 4 != 4)
            return false;
        var transport = ip + (frame[ip] & 0xF) * sizeof(uint);
        if (transport < ip + shortestIp || transport > _length)
            return false;
        var end = Math.Min(ip + BinaryPrimitives.ReadUInt16BigEndian(frame[(ip + totalLength)..]), _length);
        var isTcp = frame[ip + protocol] == EthernetFrame.ProtocolTcp && _length >= transport + shortestTcp && (isLarge || (control & TcpChecksum) != 0);
        var isUdp = frame[ip + protocol] == EthernetFrame.ProtocolUdp && _length >= transport + shortestUdp && !isLarge && (control & UdpChecksum) != 0;
        var isWhole = (BinaryPrimitives.ReadUInt16BigEndian(frame[(ip + fragment)..]) & fragmentBits) == 0;
        plan = new OffloadPlan
        {
            IpStart = ip,
            IpEnd = transport,
            IpChecksum = ip + ipChecksum,
            TransportStart = transport,
            TransportEnd = isLarge ? int.MaxValue : end,
            TransportChecksum = transport + (isTcp ? tcpChecksum : udpChecksum),
            IsTcp = isTcp,
            IsIPv4 = true,
            HeaderLength = isTcp ? transport + (frame[transport + tcpLength] >> 4) * sizeof(uint) : 0,
            SegmentSize = isLarge && isTcp ? (int)(control >> SegmentSizeShift & SegmentSizeMask) : 0,
            PutsIpChecksum = isLarge || (control & IpChecksum) != 0,
            PutsTransportChecksum = isWhole && (isTcp || isUdp),
        };
        if (isLarge && (plan.SegmentSize == 0 || plan.HeaderLength < transport + shortestTcp))
            return false;

        // What stands in the checksum fields does not count.
        if (plan.PutsIpChecksum)
            frame.Slice(plan.IpChecksum, sizeof(ushort)).Clear();
        if (plan.PutsTransportChecksum)
            PutPseudoHeader(frame, plan.TransportChecksum, isLarge ? 0 : Math.Max(0, end - transport));
        return true;
    }

    /// <summary>The sum of addresses, protocol and length, with which a transport checksum begins (RFC 793, 3.1).</summary>
    private static void PutPseudoHeader(Span<byte> frame, int field, int length)
    {
        const int addresses = EthernetFrame.HeaderLength + 12, protocol = EthernetFrame.HeaderLength + 9;
        Span<byte> header = stackalloc byte[12];
        frame.Slice(addresses, 8).CopyTo(header);
        header[9] = frame[protocol];
        BinaryPrimitives.WriteUInt16BigEndian(header[10..], (ushort)length);
        BinaryPrimitives.WriteUInt16BigEndian(frame[field..], (ushort)~EthernetFrame.Checksum(header));
    }

    private void Finish(byte[] buffer, int length, in FrameOffload offload)
    {
        if (_tag is { } tag)
            length = EthernetFrame.InsertTag(buffer, length, EthernetFrame.TypeVlan, tag);
        length = EthernetFrame.Pad(buffer, length);
        _send(buffer.AsSpan(0, length), offload);
    }
}
