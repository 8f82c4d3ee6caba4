namespace Vivarium.Guests.Tests.Debian;

/// <summary>Whether a guest's driver uses packed virtqueues.</summary>
internal static class PackedRings
{
    /// <summary>VIRTIO_F_RING_PACKED, bit 34 of the negotiated features (virtio 1.2, 6).</summary>
    private const int Feature = 34;

    /// <summary>"1" or "0".</summary>
    public static string Bit(DebianShell shell, string disk) => shell.Answer($"cat /sys/block/{disk}/device/features")[Feature..(Feature + 1)];
}
