using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>
/// Does what a driver has left to its card before frames leave: checksums, and large TCP or UDP packets cut into segments. Used by one
/// thread at a time.
/// </summary>
/// <param name="send">Takes a finished frame, which it may change and lengthen, and what is left to the network.</param>
/// <param name="large">Whether TCP over IPv4, or IPv6, may be left to be cut by the network.</param>
internal sealed class OffloadSender(OffloadSender.Sender send, Func<bool, bool> large)
{
    public delegate void Sender(byte[] buffer, int length, in FrameOffload offload);

    /// <summary>More than the largest IP packet with its headers.</summary>
    public const int Capacity = 0x1_1000;

    private readonly byte[] _segment = GC.AllocateUninitializedArray<byte>(Capacity, pinned: true);

    /// <summary>Does nothing where the field or the range is not in the frame. A UDP checksum of zero would say that there is none.</summary>
    public static void PutChecksum(Span<byte> frame, int start, int end, int offset)
    {
        if (start >= end || !TryField(frame, offset, sizeof(ushort), out var field))
            return;
        var sum = EthernetFrame.Checksum(frame[start..end]);
        BinaryPrimitives.WriteUInt16BigEndian(field, sum == 0 ? (ushort)0xFFFF : sum);
    }

    /// <summary>Sends a frame as it is, but for its checksums.</summary>
    public void SendWhole(byte[] frame, int length, in OffloadPlan plan)
    {
        PutChecksums(frame.AsSpan(0, length), plan);
        send(frame, length, default);
    }

    /// <summary>Sends a large frame in segments.</summary>
    /// <param name="mayBeLeft">Nothing is to be done to the segments that the network cannot do.</param>
    public void SendLarge(byte[] frame, int length, in OffloadPlan plan, bool mayBeLeft)
    {
        if (mayBeLeft && CanBeLeft(frame, length, plan))
            SendUncut(frame, length, plan);
        else
            SendSegments(frame, length, plan);
    }

    /// <summary>The network cuts TCP segments whose headers stand where they do in all plain packets.</summary>
    private bool CanBeLeft(byte[] frame, int length, in OffloadPlan plan)
    {
        const int greatestPacket = 0xFFFF;
        return plan.IsTcp && plan.PutsTransportChecksum
            && plan.IpStart == EthernetFrame.HeaderLength && plan.TransportStart >= EthernetFrame.HeaderLength + 20
            && plan.HeaderLength >= plan.TransportStart + 20 && plan.HeaderLength < length
            && plan.TransportChecksum == plan.TransportStart + 16 && plan.SegmentSize != 0
            && length - EthernetFrame.HeaderLength <= greatestPacket
            && EthernetFrame.Type(frame) == (plan.IsIPv4 ? EthernetFrame.TypeIPv4 : EthernetFrame.TypeIPv6)
            && large(plan.IsIPv4);
    }

    private void SendUncut(byte[] buffer, int length, in OffloadPlan plan)
    {
        var frame = buffer.AsSpan(0, length);
        PutIpLength(frame, plan);
        if (plan.PutsIpChecksum)
            PutChecksum(frame, plan.IpStart, Math.Min(plan.IpEnd, length), plan.IpChecksum);
        send(buffer, length, new FrameOffload
        {
            Flags = FrameOffload.NeedsChecksum,
            GsoType = plan.IsIPv4 ? FrameOffload.GsoTcpV4 : FrameOffload.GsoTcpV6,
            HeaderLength = (ushort)plan.HeaderLength,
            GsoSize = (ushort)plan.SegmentSize,
            ChecksumStart = (ushort)plan.TransportStart,
            ChecksumOffset = (ushort)(plan.TransportChecksum - plan.TransportStart),
        });
    }

    /// <summary>Each segment gets the headers with its own length, number and flags.</summary>
    private void SendSegments(byte[] frame, int total, in OffloadPlan plan)
    {
        const int identification = 4, sequence = 4, flags = 13;
        const byte finish = 1 << 0, push = 1 << 3;
        var header = plan.HeaderLength;
        if (plan.SegmentSize == 0)
            return;
        var number = 0;
        for (var offset = header; offset < total; offset += plan.SegmentSize, number++)
        {
            var payload = Math.Min(plan.SegmentSize, total - offset);
            var length = header + payload;
            var segment = _segment.AsSpan(0, length);
            frame.AsSpan(0, header).CopyTo(segment);
            frame.AsSpan(offset, payload).CopyTo(segment[header..]);
            PutIpLength(segment, plan);
            if (plan.IsIPv4 && TryField(segment, plan.IpStart + identification, sizeof(ushort), out var field))
                BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)(BinaryPrimitives.ReadUInt16BigEndian(field) + number));
            if (plan.IsTcp)
            {
                if (TryField(segment, plan.TransportStart + sequence, sizeof(uint), out field))
                    BinaryPrimitives.WriteUInt32BigEndian(field, BinaryPrimitives.ReadUInt32BigEndian(field) + (uint)(offset - header));
                if (offset + payload < total && TryField(segment, plan.TransportStart + flags, 1, out field))
                    field[0] &= unchecked((byte)~(finish | push));
            }
            else if (TryField(segment, plan.TransportStart + 4, sizeof(ushort), out field))
            {
                BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)(length - plan.TransportStart));
            }

            // The pseudo header lacks the length, which is each segment's own.
            if (plan.PutsTransportChecksum && TryField(segment, plan.TransportChecksum, sizeof(ushort), out field))
            {
                var sum = (uint)BinaryPrimitives.ReadUInt16BigEndian(field) + (uint)(length - plan.TransportStart);
                BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)((sum & 0xFFFF) + (sum >> 16)));
            }

            PutChecksums(segment, plan);
            send(_segment, length, default);
        }
    }

    private static void PutIpLength(Span<byte> frame, in OffloadPlan plan)
    {
        const int lengthV4 = 2, lengthV6 = 4, headerV6 = 40;
        var length = frame.Length - plan.IpStart - (plan.IsIPv4 ? 0 : headerV6);
        if (TryField(frame, plan.IpStart + (plan.IsIPv4 ? lengthV4 : lengthV6), sizeof(ushort), out var field))
            BinaryPrimitives.WriteUInt16BigEndian(field, (ushort)length);
    }

    private static void PutChecksums(Span<byte> frame, in OffloadPlan plan)
    {
        if (plan.PutsIpChecksum)
            PutChecksum(frame, plan.IpStart, Math.Min(plan.IpEnd, frame.Length), plan.IpChecksum);
        if (plan.PutsTransportChecksum)
            PutChecksum(frame, plan.TransportStart, Math.Min(plan.TransportEnd, frame.Length), plan.TransportChecksum);
    }

    private static bool TryField(Span<byte> frame, int offset, int length, out Span<byte> field)
    {
        field = offset + length <= frame.Length ? frame.Slice(offset, length) : default;
        return offset + length <= frame.Length;
    }
}
