using System.Net;

namespace Vivarium;

/// <summary>A port for GDB's remote protocol.</summary>
public sealed record GdbSpec
{
    /// <summary>The port if nothing is said: what GDB's users are used to.</summary>
    public const int DefaultPort = 1234;

    /// <summary>Where to listen. Nobody is asked who he is: keep it on the loopback address. Port 0 takes any free one.</summary>
    public IPEndPoint EndPoint { get; init; } = new(IPAddress.Loopback, DefaultPort);

    /// <summary>Begin stopped, before the first instruction, until a debugger says "continue" or goes.</summary>
    public bool Wait { get; init; }
}
