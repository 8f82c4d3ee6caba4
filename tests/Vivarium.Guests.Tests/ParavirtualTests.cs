using System.Globalization;
using Vivarium.Cli.Guests;
using Xunit;
using static Vivarium.Guests.Tests.LinuxShell;

namespace Vivarium.Guests.Tests;

/// <summary>Unmodified kernels find each part of the paravirtual interface, say so, and use it.</summary>
public sealed class ParavirtualTests
{
    [Theory]
    [InlineData("6.1")]
    [InlineData("6.12")]
    public void Linux_finds_every_part(string version)
    {
        using VivProcess viv = Boot(Guest(version), "", "--cpus", "2");
        string messages = Answer(viv, "dmesg");
        Assert.Contains("Hypervisor detected: KVM", messages);
        Assert.Contains("kvm-clock: Using msrs 4b564d01 and 4b564d00", messages);
        Assert.Contains("Booting paravirtualized kernel on KVM", messages);
        Assert.Contains("kvm-guest: KVM setup pv remote TLB flush", messages);
        Assert.Contains("kvm-guest: setup PV sched yield", messages);
        Assert.Contains("kvm-guest: setup PV IPIs", messages);
        Assert.Contains("kvm-guest: PV spinlocks enabled", messages);
        if (version == "6.12")
        {
            Assert.Contains("eoi() replaced with kvm_guest_apic_eoi_write()", messages);
        }

        // The TSC never stops and its frequency is known from kvmclock, so that Linux prefers to read it itself.
        Assert.DoesNotContain("tsc_early_khz", messages);
        Assert.Matches(@"tsc: Detected \d+\.\d+ MHz processor", messages);
        const string Clocks = "/sys/devices/system/clocksource/clocksource0/";
        Assert.Contains("kvm-clock", Answer(viv, $"cat {Clocks}available_clocksource"));
        Assert.Equal("tsc", Answer(viv, $"cat {Clocks}current_clocksource"));
        Assert.Equal("kvm-clock", Answer(viv, $"echo kvm-clock > {Clocks}current_clocksource; cat {Clocks}current_clocksource"));
        string[] times = Answer(viv, "date +%s; sleep 1; date +%s").Split('\n');
        Assert.True(long.Parse(times[1], CultureInfo.InvariantCulture) > long.Parse(times[0], CultureInfo.InvariantCulture));

        // A processor that goes gives its shared memory back, and names it anew when it comes.
        Assert.Equal("2", Answer(viv, "for i in 1 2 3; do echo 0 > /sys/devices/system/cpu/cpu1/online; echo 1 > /sys/devices/system/cpu/cpu1/online; done; nproc"));

        // Two processes that wake each other all the time, on two processors.
        Assert.Equal("2000", Answer(viv, "mkfifo a b; (while read x; do echo $x; done < a > b) & i=0; exec 3>a 4<b; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i >&3; read y <&4; done; echo $y; exec 3>&- 4<&-"));
        Assert.Equal("", Answer(viv, "dmesg | grep -E 'BUG|WARNING|lockup|Oops|Call Trace|stall|clocksource.*unstable'"));
        PowerOff(viv);
    }

    [Fact]
    public void A_crowded_host_shows_as_stolen_time()
    {
        int processors = Math.Min(2 * Environment.ProcessorCount, 16);
        using VivProcess viv = Boot(TestGuests.Cloud61, "", "--cpus", $"{processors}");
        long before = Stolen(viv);
        _ = Answer(viv, $"for i in $(seq {processors}); do (i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done) & done; wait");
        Assert.True(Stolen(viv) > before);
        PowerOff(viv);
    }

    private static BootSet Guest(string version) => version == "6.12" ? TestGuests.Cloud612 : TestGuests.Cloud61;

    /// <summary>The eighth figure of the first line of /proc/stat: hundredths of a second, all processors together.</summary>
    private static long Stolen(VivProcess viv) => long.Parse(Answer(viv, "awk '/^cpu / { print $9 }' /proc/stat"), CultureInfo.InvariantCulture);
}
