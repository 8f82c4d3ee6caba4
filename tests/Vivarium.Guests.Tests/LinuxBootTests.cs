using System.Globalization;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Vivarium.Cli.Guests;
using Xunit;
using static Vivarium.Guests.Tests.LinuxShell;

namespace Vivarium.Guests.Tests;

/// <summary>Unmodified Debian kernels boot to a shell, answer commands rightly, and switch the machine off.</summary>
public sealed class LinuxBootTests
{
    [Fact]
    public void Linux_6_1_boots_and_computes()
    {
        using VivProcess viv = Boot(TestGuests.Cloud61);
        Assert.Matches(@"^Linux vivarium 6\.1\.\S+-cloud-amd64 .* x86_64", Answer(viv, "uname -a"));
        string cpuinfo = Answer(viv, "cat /proc/cpuinfo");
        Assert.Matches(@"flags\s*:.* avx2", cpuinfo);
        Assert.Contains("address sizes", cpuinfo);
        Assert.Equal(BusyboxHash(TestGuests.Cloud61), Answer(viv, "sha256sum /bin/busybox").Split(' ')[0]);
        CheckShell(viv);
        PowerOff(viv);
    }

    [Theory]
    [InlineData("nokaslr", "512M")]
    [InlineData("mitigations=off", "512M")]
    [InlineData("", "128M")]
    [InlineData("", "4G")]
    public void Linux_6_1_boots_with(string append, string memory)
    {
        using VivProcess viv = Boot(TestGuests.Cloud61, append, "--memory", memory);
        double mib = double.Parse(Regex.Match(Answer(viv, "cat /proc/meminfo"), @"MemTotal:\s+(\d+)").Groups[1].Value, CultureInfo.InvariantCulture) / 1024;
        Assert.True(ByteSize.TryParse(memory, out ulong bytes));
        Assert.InRange(mib, (bytes >> 20) * 0.7, bytes >> 20);
        Assert.Contains(append, Answer(viv, "cat /proc/cmdline"));
        CheckShell(viv);
        PowerOff(viv);
    }

    [Theory]
    [InlineData("x86-64-v2", "avx2", false)]
    [InlineData("x86-64-v3", "avx2", true)]
    public void The_guest_sees_the_cpu_model(string model, string feature, bool present)
    {
        using VivProcess viv = Boot(TestGuests.Cloud61, "", "--cpu", model);
        Assert.Equal(present ? "1" : "0", Answer(viv, $"grep -cw {feature} /proc/cpuinfo"));
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
    public void Reboot_starts_again_and_no_reboot_ends()
    {
        using VivProcess again = Boot(TestGuests.Cloud61);
        again.Send("reboot -f\n");
        again.Expect("Welcome to Vivarium", BootPatience);
        again.Expect(@"\$ |# ", BootPatience);
        PowerOff(again);

        using VivProcess once = Boot(TestGuests.Cloud61, "", "--no-reboot");
        once.Send("reboot\n");
        Assert.Equal(0, once.WaitForExit(BootPatience));
    }

    [Fact]
    public void Control_C_reaches_the_guest()
    {
        using VivProcess viv = Boot(TestGuests.Cloud61);
        viv.Send("sleep 1000\n");
        viv.Expect("sleep 1000", CommandPatience);
        Thread.Sleep(1000);
        viv.Send("\u0003");
        viv.Send("echo stat''us=$?\n");
        viv.Expect("^status=130", CommandPatience);
        PowerOff(viv);
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

    [Fact]
    public void An_idle_guest_costs_next_to_nothing()
    {
        using VivProcess viv = Boot(TestGuests.Cloud61);
        Thread.Sleep(3000);
        TimeSpan before = viv.CpuTime;
        Thread.Sleep(10000);
        Assert.InRange((viv.CpuTime - before).TotalMilliseconds, 0, 100);
        PowerOff(viv);
    }

    private static void CheckShell(VivProcess viv)
    {
        Assert.Equal("2.718281828459", Answer(viv, """awk 'BEGIN { e = f = 1; for (i = 1; i < 20; i++) { f /= i; e += f } printf "%.12f\n", e }'"""));
        Assert.Equal("185191760", Answer(viv, "seq 1 100000 | awk '{ s = (s * 31 + $1) % 4294967296 } END { print s }' | cat"));
        Assert.Equal("10000", Answer(viv, "seq 1 10000 | sort -r | sort -n | uniq | tail -n 1"));
        CheckKernelLog(viv);
    }

    private static string BusyboxHash(BootSet guest) =>
        Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(Path.Combine(Path.GetDirectoryName(guest.Kernel)!, "busybox"))));
}
