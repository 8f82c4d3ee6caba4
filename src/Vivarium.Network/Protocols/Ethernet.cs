namespace Vivarium.Network;

/// <summary>Ethernet II frames (IEEE 802.3, 3.2.6).</summary>
internal static class Ethernet
{
    public const int AddressLength = 6;
    public const int SourceOffset = 6;
    public const int TypeOffset = 12;
    public const int HeaderLength = 14;
    public const int VlanTagLength = 4;

    /// <summary>The longest frame that a card with segmentation offload gives: a packet of 65535 bytes, IPv6 header apart.</summary>
    public const int MaximumFrame = HeaderLength + VlanTagLength + IPv6.HeaderLength + 65535;

    public const ushort TypeIPv4 = 0x0800;
    public const ushort TypeArp = 0x0806;
    public const ushort TypeVlan = 0x8100;
    public const ushort TypeServiceVlan = 0x88A8;
    public const ushort TypeIPv6 = 0x86DD;
}
