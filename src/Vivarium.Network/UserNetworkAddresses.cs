using System.Net;

namespace Vivarium.Network;

/// <summary>The addresses of a user network, the same as QEMU's.</summary>
public static class UserNetworkAddresses
{
    public const int PrefixLength = 24;
    public const int PrefixLength6 = 64;

    public static IPAddress Network { get; } = new([10, 0, 2, 0]);

    public static IPAddress NetMask { get; } = new([255, 255, 255, 0]);

    /// <summary>The router, which is also the host: its 127.0.0.1.</summary>
    public static IPAddress Router { get; } = new([10, 0, 2, 2]);

    public static IPAddress NameServer { get; } = new([10, 0, 2, 3]);

    /// <summary>What DHCP gives the guest, and where forwards lead.</summary>
    public static IPAddress Guest { get; } = new([10, 0, 2, 15]);

    public static IPAddress Prefix6 { get; } = IPAddress.Parse("fec0::");

    /// <summary>The router over IPv6: the host's ::1.</summary>
    public static IPAddress Router6 { get; } = IPAddress.Parse("fec0::2");

    public static IPAddress NameServer6 { get; } = IPAddress.Parse("fec0::3");
}
