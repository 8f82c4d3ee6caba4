using System.Runtime.InteropServices;

namespace Vivarium.Network.Host;

/// <summary>struct SlirpConfig up to version 1. Addresses lie in the order of the wire.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SlirpConfig
{
    public const uint SupportedVersion = 1;

    public uint Version;
    public int Restricted;
    public byte InEnabled;
    public uint Network;
    public uint NetMask;
    public uint Host;
    public byte In6Enabled;
    public In6Address Prefix6;
    public byte PrefixLength6;
    public In6Address Host6;
    public byte* HostName;
    public byte* TftpServerName;
    public byte* TftpPath;
    public byte* BootFile;
    public uint DhcpStart;
    public uint NameServer;
    public In6Address NameServer6;
    public byte** DnsSearch;
    public byte* DomainName;
    public nuint InterfaceMtu;
    public nuint InterfaceMru;
    public byte DisableHostLoopback;
    public byte EnableEmulation;
}
