using System.Net;
using System.Runtime.InteropServices;

namespace Vivarium.Network.Host;

/// <summary>struct in6_addr.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct In6Address
{
    private fixed uint _words[4];

    public static In6Address From(IPAddress address)
    {
        In6Address result;
        address.TryWriteBytes(new Span<byte>(result._words, 16), out _);
        return result;
    }
}
