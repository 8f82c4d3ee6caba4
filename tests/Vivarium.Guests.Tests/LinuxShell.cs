using Vivarium.Cli.Guests;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Unmodified kernels with a busybox shell on the serial console, as a user at a terminal has them.</summary>
internal static class LinuxShell
{
    public static readonly TimeSpan BootPatience = TimeSpan.FromSeconds(60);
    public static readonly TimeSpan CommandPatience = TimeSpan.FromSeconds(30);

    /// <summary>Runs a guest until its shell waits for a command.</summary>
    public static VivProcess Boot(BootSet guest, string append = "", params string[] more)
    {
        VivProcess viv = Start(guest, append, more);
        try
        {
            viv.Expect("Welcome to Vivarium", BootPatience);
            viv.Expect("# ", CommandPatience);
            return viv;
        }
        catch
        {
            viv.Dispose();
            throw;
        }
    }

    /// <summary>Runs a guest, without waiting for it.</summary>
    public static VivProcess Start(BootSet guest, string append, params string[] more) =>
        VivProcess.Start(["run", "--kernel", guest.Kernel, "--initrd", guest.Initrd!, "--append", $"{guest.CommandLine} {append}".Trim(), "--timeout", "300s", .. more]);

    /// <summary>Types a command and gives what it printed.</summary>
    public static string Answer(VivProcess viv, string command, TimeSpan? patience = null)
    {
        // The quotes keep the echo of what is typed from looking like the marks themselves.
        viv.Send($"echo BEG''IN; {command}; echo E''ND\n");
        return viv.Expect(@"^BEGIN\r?\n([^\x00]*?)^END\r?$", patience ?? CommandPatience).Groups[1].Value.Replace("\r", "").Trim();
    }

    /// <summary>The kernel has nothing to complain about.</summary>
    public static void CheckKernelLog(VivProcess viv) => Assert.Equal("", Answer(viv,
        "dmesg | grep -iE 'BUG[: ]|WARNING|lockup|rcu: INFO|stall|Oops|Call Trace|unstable|warp|blocked for more'"));

    /// <summary>Programs compute rightly, pipes carry their data, and the kernel has nothing to complain about.</summary>
    public static void CheckShell(VivProcess viv)
    {
        Assert.Equal("2.718281828459", Answer(viv, """awk 'BEGIN { e = f = 1; for (i = 1; i < 20; i++) { f /= i; e += f } printf "%.12f\n", e }'"""));
        Assert.Equal("185191760", Answer(viv, "seq 1 100000 | awk '{ s = (s * 31 + $1) % 4294967296 } END { print s }' | cat"));
        Assert.Equal("10000", Answer(viv, "seq 1 10000 | sort -r | sort -n | uniq | tail -n 1"));
        CheckKernelLog(viv);
    }

    /// <summary>Lets the guest switch its machine off.</summary>
    public static void PowerOff(VivProcess viv)
    {
        viv.Send("poweroff\n");
        Assert.Equal(0, viv.WaitForExit(CommandPatience));
    }
}
