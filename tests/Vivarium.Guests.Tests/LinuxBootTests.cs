using System.Globalization;
using System.Text.RegularExpressions;
using Vivarium.Cli.Guests;
using Xunit;
using static Vivarium.Guests.Tests.LinuxShell;

namespace Vivarium.Guests.Tests;

/// <summary>Unmodified Debian kernels boot to a shell, answer commands rightly, and switch the machine off.</summary>
public sealed class LinuxBootTests
{
    [Theory]
    [InlineData("nokaslr", "512M", "x86-64-v3", "1")]
    [InlineData("mitigations=off", "512M", "x86-64-v2", "0")]
    [InlineData("", "128M", "x86-64-v3", "1")]
    [InlineData("", "4G", "x86-64-v2", "0")]
    public void Linux_6_1_boots_with(string append, string memory, string cpu, string processorsWithAvx2)
    {
        using VivProcess viv = Boot(TestGuests.Cloud61, append, "--memory", memory, "--cpu", cpu);
        Assert.Equal(processorsWithAvx2, Answer(viv, "grep -cw avx2 /proc/cpuinfo"));
        double mib = double.Parse(Regex.Match(Answer(viv, "cat /proc/meminfo"), @"MemTotal:\s+(\d+)").Groups[1].Value, CultureInfo.InvariantCulture) / 1024;
        Assert.True(ByteSize.TryParse(memory, out ulong bytes));
        Assert.InRange(mib, (bytes >> 20) * 0.7, bytes >> 20);
        Assert.Contains(append, Answer(viv, "cat /proc/cmdline"));
        CheckShell(viv);
        PowerOff(viv);
    }

    [Fact]
    public void Linux_6_12_boots()
    {
        using VivProcess viv = Boot(TestGuests.Cloud612);
        Assert.Matches(@"^Linux vivarium 6\.12\.", Answer(viv, "uname -a"));
        CheckShell(viv);
        PowerOff(viv);
    }

    [Fact]
    public void Linux_i386_boots()
    {
        using VivProcess viv = Boot(TestGuests.I386);
        Assert.Matches(@"^Linux vivarium 6\.1\..*-686-pae .* i686", Answer(viv, "uname -a"));
        CheckShell(viv);
        PowerOff(viv);
    }

    [Fact]
    public void No_reboot_makes_a_reboot_the_end()
    {
        using VivProcess viv = Boot(TestGuests.Cloud61, "", "--no-reboot");
        viv.Send("reboot\n");
        Assert.Equal(0, viv.WaitForExit(BootPatience));
    }

    [Fact]
    public void Piped_commands_need_no_terminal_and_no_waiting()
    {
        using VivProcess viv = Start(TestGuests.Cloud61, "");
        viv.Send("echo $((6 * 7)) is the answer\npoweroff\n");
        viv.CloseInput();
        viv.Expect("^42 is the answer", BootPatience);
        Assert.Equal(0, viv.WaitForExit(CommandPatience));
    }
}
