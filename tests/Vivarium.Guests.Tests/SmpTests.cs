using System.Globalization;
using System.Text.RegularExpressions;
using Vivarium.Cli.Guests;
using Xunit;
using static Vivarium.Guests.Tests.LinuxShell;

namespace Vivarium.Guests.Tests;

/// <summary>Unmodified kernels on several processors: found, used, taken off and on line, and kept busy. One boot does for many checks.</summary>
public sealed class SmpTests
{
    [Theory]
    [InlineData("6.1", 2)]
    [InlineData("6.1", 16)]
    [InlineData("6.12", 4)]
    [InlineData("6.12", 16)]
    [InlineData("6.1", 4, "full")]
    public void Linux_finds_and_uses_all_processors(string version, int cpus, string style = "para")
    {
        using VivProcess viv = BootWith(version, cpus, style);
        CheckTopology(viv, cpus);
        CheckInterrupts(viv, cpus);
        CheckClock(viv, cpus);
        for (int round = 0; round < (cpus == 16 ? 1 : 3); round++)
        {
            TakeOffAndOn(viv, cpus);
        }

        CheckTopology(viv, cpus);
        CheckClock(viv, cpus);
        CheckKernelLog(viv);
        PowerOff(viv);
    }

    /// <summary>Twice and four times as many vCPUs as the smallest of hosts has.</summary>
    [Theory]
    [InlineData("6.1", 4, 10)]
    [InlineData("6.12", 8, 6)]
    public void Load_on_all_processors_is_computed_rightly_and_in_time(string version, int cpus, int seconds)
    {
        using VivProcess viv = BootWith(version, cpus);
        WriteLoad(viv);

        // Each processor has a worker of its own; all do the same work, whose result is known.
        string said = Answer(viv, $"sh /tmp/load {seconds}", TimeSpan.FromSeconds(seconds * 10));
        Assert.Matches(@"\A(worker \d+ did \d+ rounds\s*)+\z", said);
        MatchCollection workers = Regex.Matches(said, @"worker (\d+) did (\d+) rounds");
        Assert.Equal(cpus, workers.Count);
        Assert.All(workers, worker => Assert.NotEqual("0", worker.Groups[2].Value));
        CheckInterrupts(viv, cpus);
        CheckClock(viv, cpus);
        CheckKernelLog(viv);
        PowerOff(viv);
    }

    /// <summary>Processors come and go while all are busy.</summary>
    [Fact]
    public void Processors_go_off_and_on_line_under_load()
    {
        const int cpus = 4;
        using VivProcess viv = BootWith("6.1", cpus);
        WriteLoad(viv);
        Assert.Equal("", Answer(viv, "((sh /tmp/load 8 free > /tmp/saying; mv /tmp/saying /tmp/said) &)"));
        for (int round = 0; round < 3; round++)
        {
            TakeOffAndOn(viv, cpus);
        }

        Assert.Matches(@"\A(worker \d+ did \d+ rounds\s*)+\z", Answer(viv, "until [ -e /tmp/said ]; do sleep 1; done; cat /tmp/said", TimeSpan.FromSeconds(60)));
        CheckKernelLog(viv);
        PowerOff(viv);
    }

    private static VivProcess BootWith(string version, int cpus, string style = "para")
    {
        BootSet guest = version == "6.1" ? TestGuests.Cloud61 : TestGuests.Cloud612;
        return Boot(guest, "", "--cpus", cpus.ToString(CultureInfo.InvariantCulture), "--virt", style);
    }

    private static void CheckTopology(VivProcess viv, int cpus)
    {
        string all = $"0-{cpus - 1}";
        Assert.Equal($"{all} {all} {all}", Answer(viv, "cd /sys/devices/system/cpu; echo $(cat online present possible); cd"));
        Assert.Equal(cpus.ToString(CultureInfo.InvariantCulture), Answer(viv, "nproc"));
        string[] expected = [.. Enumerable.Range(0, cpus).Select(cpu => $"{cpu} {cpu} 0 {cpu} {all}")];
        string[] found = Answer(viv, $"for i in $(seq 0 {cpus - 1}); do cd /sys/devices/system/cpu/cpu$i/topology; "
            + "echo $i $(cat core_id physical_package_id thread_siblings_list core_siblings_list); done; cd").Split('\n');
        Assert.Equal(expected, found.Select(line => line.Trim()));

        // /proc/cpuinfo says the same, and APIC identifiers are the processors' numbers.
        string cpuinfo = Answer(viv, "grep -E '^(processor|siblings|core id|cpu cores|apicid)' /proc/cpuinfo | sed 's/.*: //' | xargs -n 5");
        Assert.Equal([.. Enumerable.Range(0, cpus).Select(cpu => $"{cpu} {cpus} {cpu} {cpus} {cpu}")], cpuinfo.Split('\n').Select(line => line.Trim()));
    }

    /// <summary>Timer interrupts and calls from others arrive everywhere.</summary>
    private static void CheckInterrupts(VivProcess viv, int cpus)
    {
        string table = Answer(viv, "cat /proc/interrupts");
        Assert.Equal(cpus, Regex.Count(table.Split('\n')[0], @"CPU\d+"));
        foreach (string row in new[] { "LOC", "CAL" })
        {
            Match counts = Regex.Match(table, $@"^\s*{row}:((?:\s+\d+)+)", RegexOptions.Multiline);
            string[] each = counts.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            Assert.True(each.Length == cpus && !each.Contains("0"), $"{row} interrupts do not reach all processors:\n{table}");
        }

        Assert.Matches(@"(?m)^\s*ERR:\s+0\s*$", table);
    }

    /// <summary>
    /// The kernel takes the time-stamp counter for its clock (where it is not told the frequency, a second or more after it
    /// has started: until then it measures, by tsc-early), found no processor whose counter is behind, and time goes on evenly everywhere.
    /// </summary>
    private static void CheckClock(VivProcess viv, int cpus)
    {
        Assert.Matches("^(tsc|kvm-clock)$", Answer(
            viv,
            "cd /sys/devices/system/clocksource/clocksource0; for i in $(seq 20); do grep -q tsc-early current_clocksource || break; sleep 1; done; cat current_clocksource; cd"));
        Assert.Matches(@"\btsc\b", Answer(viv, "cat /sys/devices/system/clocksource/clocksource0/available_clocksource"));
        Assert.Equal("", Answer(viv, $"for i in $(seq 1 {cpus * 3}); do taskset -c $((i % {cpus})) cut -d' ' -f1 /proc/uptime; done "
            + "| awk '$1 < last { print \"back from\", last, \"to\", $1 } { last = $1 }'"));
    }

    private static void TakeOffAndOn(VivProcess viv, int cpus)
    {
        Assert.Equal("0", Answer(viv, $"for i in $(seq 1 {cpus - 1}); do echo 0 > /sys/devices/system/cpu/cpu$i/online; done; cat /sys/devices/system/cpu/online"));
        Assert.Equal($"0-{cpus - 1}", Answer(viv, $"for i in $(seq 1 {cpus - 1}); do echo 1 > /sys/devices/system/cpu/cpu$i/online; done; cat /sys/devices/system/cpu/online"));
    }

    /// <summary>/tmp/load, the load of the soak test.</summary>
    private static void WriteLoad(VivProcess viv)
    {
        string script = File.ReadAllText(Path.Combine(Repository.Root, "bench", "soak", "load"));
        viv.Send($"cat > /tmp/load <<'END-OF-LOAD'\n{script}END-OF-LOAD\n");
        Assert.Equal($"{script.Length}", Answer(viv, "wc -c < /tmp/load"));
    }
}
