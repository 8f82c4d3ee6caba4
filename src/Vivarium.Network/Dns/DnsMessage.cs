namespace Vivarium.Network;

/// <summary>DNS messages (RFC 1035, 4).</summary>
internal static class DnsMessage
{
    public const ushort Port = 53;
}
