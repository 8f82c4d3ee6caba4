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

    /// <summary>Lets the guest switch its machine off.</summary>
    public static void PowerOff(VivProcess viv)
    {
        viv.Send("poweroff\n");
        Assert.Equal(0, viv.WaitForExit(CommandPatience));
    }
}
