using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>The linked list of struct setup_data: a 64-bit next pointer, type, length, data (boot.rst, "setup_data").</summary>
internal static class LinuxSetupData
{
    /// <summary>Kernels older than this have no setup_data field.</summary>
    public const ushort OldestVersion = 0x0209;

    /// <summary>SETUP_RNG_SEED; the kernel wipes it after use.</summary>
    private const uint RngSeed = 9;

    private const int HeaderSize = 16;

    /// <summary>Writes the list and returns the address of its head, 0 if it is empty.</summary>
    public static ulong Write(GuestMemory memory, ReadOnlySpan<byte> rngSeed)
    {
        if (rngSeed.IsEmpty)
        {
            return 0;
        }

        ReadOnlySpan<byte> seed = rngSeed[..Math.Min(rngSeed.Length, (int)GuestMemory.PageSize - HeaderSize)];
        memory.Write(LowMemory.SetupData, 0ul);
        memory.Write(LowMemory.SetupData + 8, RngSeed);
        memory.Write(LowMemory.SetupData + 12, (uint)seed.Length);
        memory.Write(LowMemory.SetupData + HeaderSize, seed);
        return LowMemory.SetupData;
    }
}
