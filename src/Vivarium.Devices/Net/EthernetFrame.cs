using System.Buffers.Binary;

namespace Vivarium.Devices;

/// <summary>Facts about Ethernet frames (IEEE 802.3, 802.1Q) and the Internet protocols in them that cards look at.</summary>
internal static class EthernetFrame
{
    public const int MacLength = 6;
    public const int TypeOffset = 12;
    public const int HeaderLength = 14;
    public const int VlanTagLength = 4;

    /// <summary>The shortest frame on a wire without its check sequence; shorter ones are padded.</summary>
    public const int MinimumLength = 60;

    public const int CheckSequenceLength = 4;
    public const ushort TypeIPv4 = 0x0800;
    public const ushort TypeIPv6 = 0x86DD;
    public const ushort TypeVlan = 0x8100;
    public const byte ProtocolTcp = 6;
    public const byte ProtocolUdp = 17;

    private const byte GroupAddress = 1;

    public static bool IsGroup(ReadOnlySpan<byte> frame) => (frame[0] & GroupAddress) != 0;

    public static bool IsBroadcast(ReadOnlySpan<byte> frame) => frame[..MacLength].IndexOfAnyExcept((byte)0xFF) < 0;

    public static ushort Type(ReadOnlySpan<byte> frame) => BinaryPrimitives.ReadUInt16BigEndian(frame[TypeOffset..]);

    /// <summary>Puts a VLAN tag behind the addresses and returns the new length; the buffer has room.</summary>
    public static int InsertTag(Span<byte> buffer, int length, ushort type, ushort tag)
    {
        buffer[TypeOffset..length].CopyTo(buffer[(TypeOffset + VlanTagLength)..]);
        BinaryPrimitives.WriteUInt16BigEndian(buffer[TypeOffset..], type);
        BinaryPrimitives.WriteUInt16BigEndian(buffer[(TypeOffset + sizeof(ushort))..], tag);
        return length + VlanTagLength;
    }

    /// <summary>Copies a tagged frame without its tag and returns that.</summary>
    public static ReadOnlySpan<byte> StripTag(ReadOnlySpan<byte> frame, Span<byte> buffer)
    {
        frame[..TypeOffset].CopyTo(buffer);
        frame[(TypeOffset + VlanTagLength)..].CopyTo(buffer[TypeOffset..]);
        return buffer[..(frame.Length - VlanTagLength)];
    }

    /// <summary>Fills a short frame up with zeros and returns its new length; the buffer has room.</summary>
    public static int Pad(Span<byte> buffer, int length)
    {
        if (length >= MinimumLength)
            return length;
        buffer[length..MinimumLength].Clear();
        return MinimumLength;
    }

    /// <summary>The Internet checksum (RFC 1071) of bytes in which the field itself holds zero or a pseudo header's sum.</summary>
    public static ushort Checksum(ReadOnlySpan<byte> bytes)
    {
        ulong sum = 0;
        while (bytes.Length >= sizeof(uint))
        {
            sum += BinaryPrimitives.ReadUInt32BigEndian(bytes);
            bytes = bytes[sizeof(uint)..];
        }

        for (var i = 0; i < bytes.Length; i++)
            sum += (ulong)bytes[i] << (24 - 8 * i);
        while (sum >> 16 != 0)
            sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)~sum;
    }
}
