namespace Vivarium.Cli.Guests;

/// <summary>What every Linux guest of ours is told.</summary>
internal static class LinuxCommandLine
{
    /// <summary>Serial console, and no kernel messages on it.</summary>
    public const string Common = "console=ttyS0 quiet";

    /// <summary>
    /// What a machine without paravirtual interface adds: Linux takes the TSC's frequency from kvmclock, or from CPUID on
    /// Intel processors only; told by the command line, it need not measure it against slower clocks.
    /// Where it finds no hypervisor it also tries for some milliseconds whether the 8254 interrupts, and gives up for good
    /// if this process does not get a processor of the host just then; on KVM it does not try.
    /// </summary>
    public static string ForFull => $"tsc_early_khz={HostReport.TscFrequency / 1000} no_timer_check";
}
