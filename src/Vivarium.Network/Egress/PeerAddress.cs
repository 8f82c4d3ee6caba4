using System.Buffers.Binary;
using System.Net;

namespace Vivarium.Network;

/// <summary>An address of either version as one number: IPv4 is mapped into ::ffff:0:0/96 (RFC 4291, 2.5.5.2).</summary>
internal readonly record struct PeerAddress(UInt128 Value)
{
    private const int BitsIPv6 = 128;
    private const int BitsIPv4 = 32;
    private static readonly UInt128 MappedPrefix = (UInt128)0xFFFF << BitsIPv4;

    private bool IsIPv4 => Value >> BitsIPv4 == MappedPrefix >> BitsIPv4;

    private uint IPv4Value => (uint)Value;

    /// <summary>Multicast of either version, and IPv4's broadcast and class E.</summary>
    public bool IsGroup => IsIPv4 ? IPv4Value >> 29 == 7 : Value >> (BitsIPv6 - 8) == 0xFF;

    /// <summary>An address that means this host or nobody (RFC 6890): a DNS answer with it is a trick or a block list.</summary>
    public bool IsLocalOrNobody => IsIPv4
        ? IPv4Value >> 24 is 0 or 127 || IPv4Value >> 16 == 0xA9FE
        : Value <= 1 || Value >> (BitsIPv6 - 10) == 0xFE80 >> 6;

    public static PeerAddress From(ReadOnlySpan<byte> bytes) => bytes.Length == IPv4.AddressLength
        ? new(MappedPrefix | BinaryPrimitives.ReadUInt32BigEndian(bytes))
        : new(BinaryPrimitives.ReadUInt128BigEndian(bytes));

    public static PeerAddress From(IPAddress address) => From(address.GetAddressBytes());

    /// <summary>The bits that count of a prefix for addresses of the version of <paramref name="address"/>.</summary>
    public static UInt128 Mask(IPAddress address, int prefixLength)
    {
        var bits = address.GetAddressBytes().Length * 8;
        var hostBits = bits - prefixLength;
        return hostBits == BitsIPv6 ? UInt128.Zero : UInt128.MaxValue << hostBits;
    }

    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[IPv6.AddressLength];
        BinaryPrimitives.WriteUInt128BigEndian(bytes, Value);
        return new IPAddress(IsIPv4 ? bytes[^IPv4.AddressLength..] : bytes).ToString();
    }
}
