namespace Vivarium.Network;

/// <summary>The header of IPv6 (RFC 8200, 3).</summary>
internal static class IPv6
{
    public const int HeaderLength = 40;
    public const int AddressLength = 16;
    public const int PayloadLengthOffset = 4;
    public const int NextHeaderOffset = 6;
    public const int HopLimitOffset = 7;
    public const int SourceOffset = 8;
    public const int DestinationOffset = 24;
}
