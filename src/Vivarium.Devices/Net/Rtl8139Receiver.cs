using System.Buffers.Binary;
using Vivarium.Memory;
using static Vivarium.Devices.Rtl8139Registers;

namespace Vivarium.Devices;

/// <summary>
/// How an RTL8139C+ receives (data sheet, 7 and 9): filters by address, then fills the ring buffer of the classic mode or the
/// descriptors of the C+ mode. The caller holds the card's lock.
/// </summary>
internal sealed class Rtl8139Receiver(GuestMemory memory, Rtl8139RegisterFile registers, Rtl8139Counters counters)
{
    // In front of a frame in the ring buffer: status and length.
    private const int HeaderLength = 4;
    private const uint HeaderOk = 1 << 0;
    private const uint HeaderBroadcast = 1 << 13;
    private const uint HeaderPhysical = 1 << 14;
    private const uint HeaderMulticast = 1 << 15;
    private const int HeaderLengthShift = 16;

    /// <summary>The guest's place in the ring buffer is this far behind what it has read.</summary>
    private const int ReadBias = 16;
    private const int SmallestBuffer = 8192;

    // Descriptor, first dword; the second has the VLAN tag.
    private const uint BufferSize = 0x1FFF;
    private const int ProtocolShift = 16;
    private const uint ProtocolTcp = 1;
    private const uint ProtocolUdp = 2;
    private const uint ProtocolIp = 3;
    private const uint DescriptorBroadcast = 1 << 24;
    private const uint DescriptorPhysical = 1 << 25;
    private const uint DescriptorMulticast = 1 << 26;
    private const uint TagAvailable = 1 << 16;

    /// <summary>With the check sequence; a descriptor's length field has 13 bits.</summary>
    private const int LongestFrame = 0x1FFF & ~3;

    private readonly byte[] _frame = new byte[LongestFrame + HeaderLength];
    private readonly byte[] _untagged = new byte[LongestFrame];

    /// <summary>The next descriptor of the C+ mode, from 0 to 63.</summary>
    public int NextDescriptor { get; set; }

    private uint Config => registers.Dword(ReceiveConfig);

    private ushort PlusConfig => registers.Word(PlusCommand);

    private int RingLength => SmallestBuffer << (int)(Config >> ReceiveLengthShift & 3);

    /// <summary>Nothing waits in the classic mode's buffer.</summary>
    public bool IsBufferEmpty => Free == RingLength;

    /// <summary>How many bytes of the ring buffer hold nothing that the guest has not read.</summary>
    private int Free
    {
        get
        {
            var free = (registers.Word(ReceiveRead) + ReadBias - registers.Word(ReceiveWrite)) & (RingLength - 1);
            return free == 0 ? RingLength : free;
        }
    }

    /// <summary>Gives the guest a frame. False when it has no room now; true also when it does not want the frame.</summary>
    /// <param name="frame">From the destination address on, without a check sequence.</param>
    /// <param name="verified">Its checksums are known to be right.</param>
    /// <param name="causes">Gets the interrupts that come with it.</param>
    public bool TryReceive(ReadOnlySpan<byte> frame, bool verified, ref ushort causes)
    {
        if ((registers[Command] & CommandReceive) == 0 || frame.Length is < EthernetFrame.HeaderLength or > LongestFrame - EthernetFrame.CheckSequenceLength)
            return true;
        if (!IsWanted(frame, out var kind))
            return true;
        if (!((PlusConfig & PlusReceive) != 0 ? TryFillDescriptors(frame, kind, verified) : TryFillBuffer(frame, kind)))
            return false;
        causes |= ReceiveOk;
        counters.Received(kind);
        return true;
    }

    private bool IsWanted(ReadOnlySpan<byte> frame, out FrameKind kind)
    {
        if (EthernetFrame.IsBroadcast(frame))
        {
            kind = FrameKind.Broadcast;
            return (Config & AcceptBroadcast) != 0;
        }

        if (EthernetFrame.IsGroup(frame))
        {
            kind = FrameKind.Multicast;
            var bit = (int)(MulticastCrc(frame[..EthernetFrame.MacLength]) >> 26);
            return (Config & AcceptMulticast) != 0 && (registers.MulticastHash[bit / 8] & 1 << bit % 8) != 0;
        }

        var isMine = frame[..EthernetFrame.MacLength].SequenceEqual(registers.Address);
        kind = isMine ? FrameKind.Physical : FrameKind.Other;
        return (Config & AcceptAllPhysical) != 0 || (isMine && (Config & AcceptPhysicalMatch) != 0);
    }

    /// <summary>The Ethernet check sequence's register after an address, whose upper six bits choose a bit of MAR (6.2).</summary>
    private static uint MulticastCrc(ReadOnlySpan<byte> address)
    {
        const uint polynomial = 0x04C1_1DB7;
        var crc = uint.MaxValue;
        foreach (var value in address)
        {
            for (var bit = 0; bit < 8; bit++)
            {
                var carries = (crc >> 31 ^ (uint)value >> bit & 1) != 0;
                crc = crc << 1 ^ (carries ? polynomial : 0);
            }
        }

        return crc;
    }

    /// <summary>The check sequence behind a frame is zero: drivers leave its check to the card.</summary>
    private bool TryFillBuffer(ReadOnlySpan<byte> frame, FrameKind kind)
    {
        frame.CopyTo(_frame.AsSpan(HeaderLength));
        var length = EthernetFrame.Pad(_frame.AsSpan(HeaderLength), frame.Length);
        _frame.AsSpan(HeaderLength + length, EthernetFrame.CheckSequenceLength).Clear();
        length += EthernetFrame.CheckSequenceLength;
        var stored = (HeaderLength + length + 3) & ~3;
        if (stored >= RingLength)
            return true;
        if (stored >= Free)
            return false;
        var status = HeaderOk | kind switch
        {
            FrameKind.Broadcast => HeaderBroadcast,
            FrameKind.Multicast => HeaderMulticast,
            FrameKind.Physical => HeaderPhysical,
            _ => 0,
        };
        BinaryPrimitives.WriteUInt32LittleEndian(_frame, status | (uint)length << HeaderLengthShift);
        var start = registers.Dword(ReceiveBuffer);
        var place = registers.Word(ReceiveWrite) & (RingLength - 1);
        ReadOnlySpan<byte> bytes = _frame.AsSpan(0, HeaderLength + length);

        // With the largest buffer there is no room behind it (RCR.WRAP).
        if ((Config & ReceiveWrap) == 0 || RingLength == SmallestBuffer << 3)
        {
            var first = Math.Min(bytes.Length, RingLength - place);
            DmaMemory.Write(memory, start + (ulong)place, bytes[..first]);
            DmaMemory.Write(memory, start, bytes[first..]);
        }
        else
        {
            DmaMemory.Write(memory, start + (ulong)place, bytes);
        }

        registers.Put(ReceiveWrite, (ushort)((place + stored) & (RingLength - 1)));
        return true;
    }

    private bool TryFillDescriptors(ReadOnlySpan<byte> frame, FrameKind kind, bool verified)
    {
        uint tag = 0;
        var protocol = verified && (PlusConfig & PlusReceiveChecksum) != 0 ? Protocol(frame) : 0;
        if ((PlusConfig & PlusReceiveVlan) != 0 && frame.Length >= EthernetFrame.HeaderLength + EthernetFrame.VlanTagLength && EthernetFrame.Type(frame) == EthernetFrame.TypeVlan)
        {
            // The field holds the tag as it is on the wire.
            tag = TagAvailable | BinaryPrimitives.ReadUInt16LittleEndian(frame[EthernetFrame.HeaderLength..]);
            frame = EthernetFrame.StripTag(frame, _untagged);
        }

        frame.CopyTo(_frame);
        var length = EthernetFrame.Pad(_frame, frame.Length);
        _frame.AsSpan(length, EthernetFrame.CheckSequenceLength).Clear();
        length += EthernetFrame.CheckSequenceLength;
        if (!HasRoom(length, out var isPossible))
            return !isPossible;
        var status = protocol << ProtocolShift | (uint)length | kind switch
        {
            FrameKind.Broadcast => DescriptorBroadcast,
            FrameKind.Multicast => DescriptorMulticast,
            FrameKind.Physical => DescriptorPhysical,
            _ => 0,
        };
        Fill(_frame.AsSpan(0, length), status, tag);
        return true;
    }

    private static uint Protocol(ReadOnlySpan<byte> frame)
    {
        const int protocolOffset = EthernetFrame.HeaderLength + 9;
        if (EthernetFrame.Type(frame) != EthernetFrame.TypeIPv4 || frame.Length <= protocolOffset)
            return 0;
        return frame[protocolOffset] switch
        {
            EthernetFrame.ProtocolTcp => ProtocolTcp,
            EthernetFrame.ProtocolUdp => ProtocolUdp,
            _ => ProtocolIp,
        };
    }

    /// <summary>Whether the descriptors that are the card's hold so many bytes; <paramref name="isPossible"/>: they may later.</summary>
    private bool HasRoom(int length, out bool isPossible)
    {
        var index = NextDescriptor;
        for (var i = 0; i < MostDescriptors && length > 0; i++)
        {
            var control = DmaMemory.Read<uint>(memory, Descriptor(index));
            isPossible = true;
            if ((control & DescriptorOwn) == 0)
                return false;
            length -= (int)(control & BufferSize);
            index = Following(index, control);
        }

        isPossible = length <= 0;
        return isPossible;
    }

    private void Fill(ReadOnlySpan<byte> frame, uint status, uint tag)
    {
        var first = DescriptorFirst;
        Span<byte> descriptor = stackalloc byte[DescriptorLength];

        // As many as HasRoom has seen, unless the guest changes them meanwhile.
        for (var i = 0; i < MostDescriptors && !frame.IsEmpty; i++)
        {
            var address = Descriptor(NextDescriptor);
            DmaMemory.Read(memory, address, descriptor);
            var control = BinaryPrimitives.ReadUInt32LittleEndian(descriptor);
            var part = Math.Min((int)(control & BufferSize), frame.Length);
            DmaMemory.Write(memory, BinaryPrimitives.ReadUInt64LittleEndian(descriptor[8..]), frame[..part]);
            frame = frame[part..];
            DmaMemory.Write(memory, address + sizeof(uint), tag);

            // The guest may look at any time: the descriptor becomes its own when the rest is there.
            DmaMemory.Write(memory, address, control & DescriptorEnd | first | (frame.IsEmpty ? DescriptorLast : 0) | status);
            first = 0;
            NextDescriptor = Following(NextDescriptor, control);
        }
    }

    private ulong Descriptor(int index) => (registers.Qword(ReceiveRing) & ~0xFFul) + (ulong)index * DescriptorLength;

    private static int Following(int index, uint control) => (control & DescriptorEnd) != 0 ? 0 : (index + 1) % MostDescriptors;
}
