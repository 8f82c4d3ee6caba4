namespace Vivarium.Network;

/// <summary>Work on frames that one side may leave to the other.</summary>
[Flags]
public enum NetworkOffloads
{
    None = 0,

    /// <summary>Completing, or verifying, checksums of TCP and UDP.</summary>
    Checksum = 1,

    /// <summary>Cutting a large TCP segment over IPv4.</summary>
    Tso4 = 2,

    /// <summary>Cutting a large TCP segment over IPv6.</summary>
    Tso6 = 4,
}
