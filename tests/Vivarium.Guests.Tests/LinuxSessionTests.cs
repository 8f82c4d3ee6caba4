using System.Security.Cryptography;
using Vivarium.Guests.Tests.Debian;
using Xunit;
using static Vivarium.Guests.Tests.LinuxShell;

namespace Vivarium.Guests.Tests;

/// <summary>
/// Linux 6.1 as <c>viv run</c> starts it without options, booted once for all tests here, which run as they stand; the last one starts it
/// again and switches it off.
/// </summary>
[TestMethodOrderer(typeof(InFileOrder))]
public sealed class LinuxSessionTests(LinuxSession linux) : IClassFixture<LinuxSession>
{
    [Fact]
    public void It_boots_and_computes()
    {
        VivProcess viv = linux.Process;
        Assert.Matches(@"^Linux vivarium 6\.1\.\S+-cloud-amd64 .* x86_64", Answer(viv, "uname -a"));
        string cpuinfo = Answer(viv, "cat /proc/cpuinfo");
        Assert.Matches(@"flags\s*:.* avx2", cpuinfo);
        Assert.Contains("address sizes", cpuinfo);
        string busybox = Path.Combine(Path.GetDirectoryName(TestGuests.Cloud61.Kernel)!, "busybox");
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(busybox))), Answer(viv, "sha256sum /bin/busybox").Split(' ')[0]);
        CheckShell(viv);
    }

    [Fact]
    public void Control_C_reaches_it()
    {
        VivProcess viv = linux.Process;
        viv.Send("sleep 1000\n");
        viv.Expect("sleep 1000", CommandPatience);
        Thread.Sleep(1000);
        viv.Send("\u0003");
        viv.Send("echo stat''us=$?\n");
        viv.Expect("^status=130", CommandPatience);
    }

    [Fact]
    public void It_costs_next_to_nothing_while_it_is_idle()
    {
        VivProcess viv = linux.Process;
        Thread.Sleep(3000);
        TimeSpan before = viv.CpuTime;
        Thread.Sleep(10000);
        Assert.InRange((viv.CpuTime - before).TotalMilliseconds, 0, 100);
    }

    [Fact]
    public void It_starts_again_when_it_reboots()
    {
        VivProcess viv = linux.Process;
        viv.Send("reboot -f\n");
        viv.Expect("Welcome to Vivarium", BootPatience);
        viv.Expect(@"\$ |# ", BootPatience);
        PowerOff(viv);
    }
}

/// <summary>A Linux 6.1 with a shell, which starts when it is first asked for.</summary>
public sealed class LinuxSession : IDisposable
{
    private readonly Lazy<VivProcess> _process = new(() => Boot(TestGuests.Cloud61));

    internal VivProcess Process => _process.Value;

    public void Dispose()
    {
        if (_process.IsValueCreated)
        {
            Process.Dispose();
        }
    }
}
