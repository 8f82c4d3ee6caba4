namespace Vivarium.Devices;

/// <summary>What a guest may ask (the kernel's documentation, "KVM hypercalls").</summary>
internal enum HypercallNumber : ulong
{
    VapicPollIrq = 1,
    KickCpu = 5,
    ClockPairing = 9,
    SendIpi = 10,
    SchedYield = 11,
}
