namespace Vivarium.Firmware;

/// <summary>The checksum of firmware tables: all bytes of a sound table sum to zero.</summary>
internal static class Checksums
{
    /// <summary>What must be added for the bytes to sum to zero.</summary>
    public static byte ToZero(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte b in bytes)
        {
            sum += b;
        }

        return (byte)-sum;
    }
}
