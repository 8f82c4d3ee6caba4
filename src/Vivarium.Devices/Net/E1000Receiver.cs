using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// How an 82540EM receives (8254x developer's manual, 3.2): filters by address and VLAN, then as many descriptors as the
/// frame takes. The caller holds the card's lock.
/// </summary>
internal sealed class E1000Receiver(GuestMemory memory, E1000RegisterFile registers, E1000Statistics statistics)
{
    private const int DescriptorLength = 16;
    private const int LengthField = 8;
    private const int StatusField = 12;
    private const int SpecialField = 14;

    // Descriptor status.
    private const byte DescriptorDone = 1 << 0;
    private const byte EndOfPacket = 1 << 1;
    private const byte IgnoreChecksums = 1 << 2;
    private const byte IsVlan = 1 << 3;
    private const byte TransportChecked = 1 << 5;
    private const byte HeaderChecked = 1 << 6;
    private const byte InexactFilter = 1 << 7;

    /// <summary>With the check sequence; longer ones are taken only if RCTL says so.</summary>
    private const int LongestStandardFrame = 1522;
    private const int LongestFrame = 16384;

    private const int VlanIdMask = 0xFFF;

    private readonly byte[] _padded = new byte[EthernetFrame.MinimumLength];
    private readonly byte[] _untagged = new byte[LongestFrame];

    private uint Control => registers[E1000Registers.Rctl];

    /// <summary>Gives the guest a frame. False when it has too few descriptors now; true also when it does not want the frame.</summary>
    /// <param name="frame">From the destination address on, without a check sequence.</param>
    /// <param name="verified">Its checksums are known to be right.</param>
    /// <param name="causes">Gets the causes of interrupts that come with it.</param>
    public bool TryReceive(ReadOnlySpan<byte> frame, bool verified, ref uint causes)
    {
        if ((Control & E1000Registers.RctlEnable) == 0 || frame.Length < EthernetFrame.HeaderLength)
            return true;
        if (frame.Length + EthernetFrame.CheckSequenceLength > ((Control & E1000Registers.RctlLongPackets) != 0 ? LongestFrame : LongestStandardFrame))
        {
            statistics.Count(E1000Statistics.ReceiveOversize);
            return true;
        }

        if (!IsWanted(frame, out var exact))
            return true;
        var original = frame;
        var status = (byte)((exact ? 0 : InexactFilter) | ChecksumStatus(frame, verified));
        ushort tag = 0;
        if ((registers[E1000Registers.Ctrl] & E1000Registers.CtrlVlanMode) != 0 && HasTag(frame))
        {
            tag = BinaryPrimitives.ReadUInt16BigEndian(frame[EthernetFrame.HeaderLength..]);
            frame = EthernetFrame.StripTag(frame, _untagged);
            status |= IsVlan;
        }

        if (frame.Length < EthernetFrame.MinimumLength)
            frame = Pad(frame);
        if (!TryPlace(frame, status, tag, ref causes))
            return false;
        statistics.Received(original);
        return true;
    }

    private static ReadOnlySpan<byte> TagOf(ReadOnlySpan<byte> frame) => frame.Slice(EthernetFrame.HeaderLength, sizeof(ushort));

    private bool HasTag(ReadOnlySpan<byte> frame) =>
        frame.Length >= EthernetFrame.HeaderLength + EthernetFrame.VlanTagLength && EthernetFrame.Type(frame) == (ushort)registers[E1000Registers.Vet];

    private ReadOnlySpan<byte> Pad(ReadOnlySpan<byte> frame)
    {
        frame.CopyTo(_padded);
        EthernetFrame.Pad(_padded, frame.Length);
        return _padded;
    }

    private bool IsWanted(ReadOnlySpan<byte> frame, out bool exact)
    {
        exact = true;
        if ((Control & E1000Registers.RctlVlanFilter) != 0 && HasTag(frame))
        {
            var vlan = (uint)BinaryPrimitives.ReadUInt16BigEndian(TagOf(frame)) & VlanIdMask;
            if ((registers[E1000Registers.FirstVlan + vlan / 32 * sizeof(uint)] & 1u << (int)(vlan % 32)) == 0)
                return false;
        }

        if (MatchesAddress(frame))
            return true;
        if (EthernetFrame.IsBroadcast(frame) && (Control & E1000Registers.RctlBroadcast) != 0)
            return true;
        var group = EthernetFrame.IsGroup(frame);
        if ((Control & (group ? E1000Registers.RctlMulticastPromiscuous : E1000Registers.RctlUnicastPromiscuous)) != 0)
            return true;
        exact = false;
        return group && MatchesHash(frame);
    }

    private bool MatchesAddress(ReadOnlySpan<byte> frame)
    {
        var low = BinaryPrimitives.ReadUInt32LittleEndian(frame);
        var high = BinaryPrimitives.ReadUInt16LittleEndian(frame[sizeof(uint)..]) | E1000Registers.RahValid;
        for (var entry = E1000Registers.FirstAddress; entry < E1000Registers.EndOfAddresses; entry += 2 * sizeof(uint))
        {
            if (registers[entry] == low && (registers[entry + sizeof(uint)] & (E1000Registers.RahValid | 0xFFFF)) == high)
                return true;
        }

        return false;
    }

    /// <summary>Twelve bits of the address' last two bytes choose one of 4096 bits (13.4.22, RCTL.MO).</summary>
    private bool MatchesHash(ReadOnlySpan<byte> frame)
    {
        ReadOnlySpan<byte> shifts = [4, 3, 2, 0];
        var shift = shifts[(int)(Control >> E1000Registers.RctlMulticastOffsetShift) & 3];
        var hash = (uint)(BinaryPrimitives.ReadUInt16LittleEndian(frame[4..]) >> shift) & 0xFFF;
        return (registers[E1000Registers.FirstMulticast + hash / 32 * sizeof(uint)] & 1u << (int)(hash % 32)) != 0;
    }

    private byte ChecksumStatus(ReadOnlySpan<byte> frame, bool verified)
    {
        const int protocolOffset = EthernetFrame.HeaderLength + 9;
        const int fragmentOffset = EthernetFrame.HeaderLength + 6;
        const int fragmentBits = 0x3FFF;
        const int shortestHeader = 20;
        if (!verified || frame.Length < EthernetFrame.HeaderLength + shortestHeader || EthernetFrame.Type(frame) != EthernetFrame.TypeIPv4)
            return IgnoreChecksums;
        var control = registers[E1000Registers.Rxcsum];
        var status = (control & E1000Registers.RxcsumIp) != 0 ? HeaderChecked : 0;
        var whole = (BinaryPrimitives.ReadUInt16BigEndian(frame[fragmentOffset..]) & fragmentBits) == 0;
        if ((control & E1000Registers.RxcsumTransport) != 0 && whole && frame[protocolOffset] is EthernetFrame.ProtocolTcp or EthernetFrame.ProtocolUdp)
            status |= TransportChecked;
        return (byte)(status != 0 ? status : IgnoreChecksums);
    }

    /// <summary>The check sequence that follows the frame unless it is stripped is zero: drivers leave its check to the card.</summary>
    private bool TryPlace(ReadOnlySpan<byte> frame, byte status, ushort tag, ref uint causes)
    {
        var count = registers[E1000Registers.Rdlen] / DescriptorLength;
        var head = registers[E1000Registers.Rdh];
        var tail = registers[E1000Registers.Rdt];
        if (head >= count || tail >= count)
            return false;
        var free = (tail + count - head) % count;
        var size = BufferSize;
        var left = frame.Length + ((Control & E1000Registers.RctlStripCheckSequence) != 0 ? 0 : EthernetFrame.CheckSequenceLength);
        var needed = (uint)((left + size - 1) / size);
        if (needed >= count)
            return true;
        if (needed > free)
        {
            statistics.Count(E1000Statistics.ReceiveNoBuffers);
            return false;
        }

        Span<byte> descriptor = stackalloc byte[DescriptorLength];
        var ring = registers.Address(E1000Registers.Rdbal);
        while (left > 0)
        {
            var address = ring + head * DescriptorLength;
            DmaMemory.Read(memory, address, descriptor);
            var part = Math.Min(left, size);
            var data = Math.Min(part, frame.Length);
            DmaMemory.Write(memory, BinaryPrimitives.ReadUInt64LittleEndian(descriptor), frame[..data]);
            frame = frame[data..];
            left -= part;
            descriptor[LengthField..].Clear();
            BinaryPrimitives.WriteUInt16LittleEndian(descriptor[LengthField..], (ushort)part);
            BinaryPrimitives.WriteUInt16LittleEndian(descriptor[SpecialField..], tag);

            // The guest may look at any time: done comes when the rest is there.
            DmaMemory.Write(memory, address, descriptor);
            var done = (byte)(status | DescriptorDone | (left == 0 ? EndOfPacket : 0));
            DmaMemory.Write(memory, address + StatusField, new ReadOnlySpan<byte>(in done));
            head = (head + 1) % count;
        }

        registers[E1000Registers.Rdh] = head;
        causes |= E1000Registers.CauseReceived;
        if (free - needed <= count >> (int)(1 + (Control >> E1000Registers.RctlThresholdShift & 3)))
            causes |= E1000Registers.CauseReceiveThreshold;
        return true;
    }

    private int BufferSize
    {
        get
        {
            var code = (int)(Control >> E1000Registers.RctlSizeShift) & 3;
            return (Control & E1000Registers.RctlSizeExtension) != 0 && code != 0 ? 32768 >> code : 2048 >> code;
        }
    }
}
