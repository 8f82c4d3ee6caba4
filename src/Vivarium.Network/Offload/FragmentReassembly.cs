using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>
/// Joins the fragments of IPv4 packets (RFC 791, 3.2), so that libslirp never sees one: its own reassembly (4.7) writes
/// through wild pointers when a guest sends fragments that do not fit. Fragments must come in order and without overlap,
/// as a card delivers what its driver sends; others are dropped.
/// </summary>
internal sealed class FragmentReassembly
{
    /// <summary>How many packets may be under way; the oldest makes room.</summary>
    private const int Packets = 4;
    private const int FragmentUnit = 8;

    private readonly record struct Key(uint Source, uint Destination, uint Id, byte Protocol);

    private sealed class Packet
    {
        public readonly byte[] Frame = new byte[Ethernet.MaximumFrame];
        public Key Key;
        public int Length;
        public int TransportOffset;
    }

    private readonly Packet?[] _packets = new Packet?[Packets];
    private int _next;

    /// <summary>Takes a fragment and says the length of the whole frame in <paramref name="destination"/>; 0 if it is not whole yet.</summary>
    public int Add(ReadOnlySpan<byte> frame, in FrameHeaders headers, Span<byte> destination)
    {
        var header = frame[headers.NetworkOffset..];
        var key = new Key(
            MemoryMarshal.Read<uint>(header[IPv4.SourceOffset..]), MemoryMarshal.Read<uint>(header[IPv4.DestinationOffset..]),
            headers.FragmentId, headers.Protocol);
        var field = BinaryPrimitives.ReadUInt16BigEndian(header[IPv4.FragmentOffset..]);
        var isLast = (field & IPv4.MoreFragments) == 0;
        var offset = (field & IPv4.FragmentOffsetMask) * FragmentUnit;
        var data = frame[headers.TransportOffset..headers.End];
        var packet = Find(key);
        if (!isLast && data.Length % FragmentUnit != 0)
            return Forget(packet);
        if (offset == 0)
        {
            Begin(packet ?? Oldest(), key, frame, headers);
            return 0;
        }
        if (packet is null)
            return 0;
        var total = packet.Length - headers.NetworkOffset + data.Length;
        if (packet.Length - packet.TransportOffset != offset || total > ushort.MaxValue)
            return Forget(packet);
        data.CopyTo(packet.Frame.AsSpan(packet.Length));
        packet.Length += data.Length;
        if (!isLast)
            return 0;

        var whole = packet.Frame.AsSpan(0, packet.Length);
        var wholeHeader = whole[headers.NetworkOffset..packet.TransportOffset];
        BinaryPrimitives.WriteUInt16BigEndian(wholeHeader[IPv4.TotalLengthOffset..], (ushort)total);
        wholeHeader.Slice(IPv4.FragmentOffset, sizeof(ushort)).Clear();
        wholeHeader.Slice(IPv4.ChecksumOffset, sizeof(ushort)).Clear();
        MemoryMarshal.Write(wholeHeader[IPv4.ChecksumOffset..], InternetChecksum.Of(wholeHeader));
        whole.CopyTo(destination);
        Forget(packet);
        return whole.Length;
    }

    private static void Begin(Packet packet, Key key, ReadOnlySpan<byte> frame, in FrameHeaders headers)
    {
        frame[..headers.End].CopyTo(packet.Frame);
        packet.Key = key;
        packet.Length = headers.End;
        packet.TransportOffset = headers.TransportOffset;
    }

    private Packet? Find(Key key)
    {
        foreach (var packet in _packets)
        {
            if (packet is { Length: > 0 } && packet.Key == key)
                return packet;
        }
        return null;
    }

    private Packet Oldest()
    {
        _next = (_next + 1) % Packets;
        return _packets[_next] ??= new();
    }

    private static int Forget(Packet? packet)
    {
        if (packet is not null)
            packet.Length = 0;
        return 0;
    }
}
