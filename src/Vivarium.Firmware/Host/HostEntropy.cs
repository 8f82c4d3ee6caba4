namespace Vivarium.Firmware.Host;

/// <summary>Random bytes of the host's kernel: random(4). .NET's own generator would load OpenSSL for them, at every start.</summary>
internal static class HostEntropy
{
    private const string Device = "/dev/urandom";

    public static byte[] Read(int length)
    {
        var bytes = new byte[length];
        using FileStream device = new(Device, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        device.ReadExactly(bytes);
        return bytes;
    }
}
