using Vivarium.Memory;

namespace Vivarium.Firmware;

/// <summary>
/// The few words of the BIOS data area that systems booted without a BIOS still look at: the addresses of serial and parallel ports
/// and the end of conventional memory, below which Linux places its real-mode trampoline.
/// </summary>
internal static class BiosDataArea
{
    private const ulong SerialPorts = 0x400;
    private const ulong ParallelPorts = 0x408;
    private const ulong ExtendedAreaSegment = 0x40E;
    private const ulong ConventionalKibibytes = 0x413;
    private const int SerialPortCount = 4;

    public static void Write(GuestMemory memory, PlatformLayout layout)
    {
        for (int i = 0; i < Math.Min(layout.SerialPorts.Count, SerialPortCount); i++)
        {
            memory.Write(SerialPorts + (ulong)(2 * i), layout.SerialPorts[i].Port);
        }

        if (layout.HasParallelPort)
        {
            memory.Write(ParallelPorts, PlatformLayout.ParallelPort);
        }

        memory.Write(ExtendedAreaSegment, (ushort)(PlatformLayout.ConventionalMemoryEnd >> 4));
        memory.Write(ConventionalKibibytes, (ushort)(PlatformLayout.ConventionalMemoryEnd >> 10));

        // The extended area begins with its own size in KiB.
        memory.Write<byte>(PlatformLayout.ConventionalMemoryEnd, 1);
    }
}
