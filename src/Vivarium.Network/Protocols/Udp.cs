namespace Vivarium.Network;

/// <summary>The header of UDP (RFC 768).</summary>
internal static class Udp
{
    public const int HeaderLength = 8;
    public const int LengthOffset = 4;
    public const int ChecksumOffset = 6;
}
