namespace Vivarium.Network;

/// <summary>The header of IPv4 (RFC 791, 3.1).</summary>
internal static class IPv4
{
    public const int MinimumHeaderLength = 20;
    public const int AddressLength = 4;
    public const int TotalLengthOffset = 2;
    public const int IdentificationOffset = 4;
    public const int FragmentOffset = 6;
    public const int TimeToLiveOffset = 8;
    public const int ProtocolOffset = 9;
    public const int ChecksumOffset = 10;
    public const int SourceOffset = 12;
    public const int DestinationOffset = 16;

    public const ushort MoreFragments = 0x2000;
    public const ushort FragmentOffsetMask = 0x1FFF;
}
