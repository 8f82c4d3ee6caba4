using Vivarium.Devices;

namespace Vivarium.Board;

/// <summary>What SeaBIOS reads from the CMOS memory of a board of this kind: the boot order and the number of processors.</summary>
internal static class BiosSettings
{
    private const int BootOrderThird = 0x38;
    private const int BootOrderFirstAndSecond = 0x3D;
    private const int MoreProcessors = 0x5F;

    /// <summary>Do not check a floppy disk's boot signature, as old disks have none.</summary>
    private const byte NoFloppyCheck = 1;

    /// <param name="order">The first three count.</param>
    public static void Store(Rtc rtc, int processors, IReadOnlyList<BootDevice> order)
    {
        int Code(int place) => place < order.Count ? (int)order[place] : 0;
        rtc.StoreCmos(BootOrderFirstAndSecond, (byte)(Code(0) | (Code(1) << 4)));
        rtc.StoreCmos(BootOrderThird, (byte)((Code(2) << 4) | NoFloppyCheck));
        rtc.StoreCmos(MoreProcessors, (byte)(processors - 1));
    }
}
