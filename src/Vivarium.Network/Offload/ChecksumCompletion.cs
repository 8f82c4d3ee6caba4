using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>Completes the checksum that a guest left to its card (Virtio 1.2, 5.1.6.2, NEEDS_CSUM).</summary>
internal static class ChecksumCompletion
{
    /// <summary>
    /// Completes the frame in place. The field holds the pseudo header's sum, so the sum goes over everything from the
    /// start on. False when the field does not lie in the frame.
    /// </summary>
    public static bool Complete(Span<byte> frame, in FrameOffload offload)
    {
        if ((offload.Flags & FrameOffload.NeedsChecksum) == 0)
            return true;
        int start = offload.ChecksumStart;
        var field = start + offload.ChecksumOffset;
        if (field + sizeof(ushort) > frame.Length)
            return false;

        // Drivers do not agree whether a large segment's pseudo header counts its length: it is made anew.
        if (offload.GsoType != FrameOffload.GsoNone)
        {
            if (!TryPseudoHeader(frame, start, out var begun))
                return false;
            MemoryMarshal.Write(frame[field..], in begun);
        }
        MemoryMarshal.Write(frame[field..], InternetChecksum.NonZero(InternetChecksum.Of(frame[start..])));
        return true;
    }

    private static bool TryPseudoHeader(ReadOnlySpan<byte> frame, int transport, out ushort sum)
    {
        sum = 0;
        if (frame.Length < Ethernet.HeaderLength)
            return false;
        var packet = frame[Ethernet.HeaderLength..];
        var length = frame.Length - transport;
        switch (BinaryPrimitives.ReadUInt16BigEndian(frame[Ethernet.TypeOffset..]))
        {
            case Ethernet.TypeIPv4 when packet.Length >= IPv4.MinimumHeaderLength:
                sum = InternetChecksum.Fold(InternetChecksum.PseudoHeader(
                    packet.Slice(IPv4.SourceOffset, 2 * IPv4.AddressLength), IpProtocol.Tcp, length));
                return true;
            case Ethernet.TypeIPv6 when packet.Length >= IPv6.HeaderLength:
                sum = InternetChecksum.Fold(InternetChecksum.PseudoHeader(
                    packet.Slice(IPv6.SourceOffset, 2 * IPv6.AddressLength), IpProtocol.Tcp, length));
                return true;
            default:
                return false;
        }
    }
}
