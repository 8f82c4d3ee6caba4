namespace Vivarium.Devices;

/// <summary>Model-specific registers of the KVM paravirtual interface (the kernel's documentation, "KVM-specific MSRs").</summary>
internal static class KvmMsr
{
    /// <summary>The wall clock's and kvmclock's registers as first numbered, in a range that processors use.</summary>
    public const uint WallClockOld = 0x11;
    public const uint SystemTimeOld = 0x12;

    public const uint First = 0x4B56_4D00;
    public const uint WallClock = 0x4B56_4D00;
    public const uint SystemTime = 0x4B56_4D01;
    public const uint StealTime = 0x4B56_4D03;
    public const uint EoiEnable = 0x4B56_4D04;
    public const uint PollControl = 0x4B56_4D05;
    public const uint MigrationControl = 0x4B56_4D08;
    public const uint Last = 0x4B56_4DFF;

    /// <summary>In the registers that hold an address: the area is in use.</summary>
    public const ulong Enabled = 1;
}
