using Vivarium.Devices;
using Vivarium.Firmware.Boot;
using Vivarium.Memory;

namespace Vivarium.Board;

/// <summary>The flash memory in which firmware keeps its variables, right below its ROM.</summary>
internal static class FirmwareFlash
{
    /// <param name="end">First address past it.</param>
    public static CfiFlash Place(GuestMemory memory, MmioBus mmio, ulong end, FirmwareVariables variables, Action<string> warn)
    {
        MemoryRegion region = memory.Allocate((ulong)variables.Bytes.Length);
        variables.Bytes.Span.CopyTo(region.Bytes);
        var flash = new CfiFlash(memory, region, end - region.Length, Keep);
        flash.Map(mmio);
        return flash;

        void Keep(int offset, int length)
        {
            try
            {
                variables.Store(offset, region.Bytes.Slice(offset, length));
            }
            catch (IOException e)
            {
                warn($"the firmware's variables cannot be kept: {e.Message}");
            }
        }
    }
}
