using Vivarium.Cli.Guests;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>A stock kernel's busybox shell on the serial console of a viv process.</summary>
internal static class LinuxShell
{
    private static readonly TimeSpan s_bootPatience = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    /// <summary>Starts a machine and waits for its prompt.</summary>
    public static VivProcess Boot(BootSet guest, string append = "", params string[] more)
    {
        VivProcess viv = Start(guest, append, more);
        try
        {
            viv.Expect("Welcome to Vivarium", s_bootPatience);
            viv.Expect("# ", s_patience);
            return viv;
        }
        catch
        {
            viv.Dispose();
            throw;
        }
    }

    public static VivProcess Start(BootSet guest, string append, params string[] more) =>
        VivProcess.Start(["run", "--kernel", guest.Kernel, "--initrd", guest.Initrd!, "--append", $"{guest.CommandLine} {append}".Trim(), "--timeout", "300s", .. more]);

    /// <summary>Types a command and gives what it printed.</summary>
    public static string Answer(VivProcess viv, string command, TimeSpan? patience = null)
    {
        // The quotes keep the echo of what is typed from looking like the marks themselves.
        viv.Send($"echo BEG''IN; {command}; echo E''ND\n");
        return viv.Expect(@"^BEGIN\r?\n([^\x00]*?)^END\r?$", patience ?? s_patience).Groups[1].Value.Replace("\r", "").Trim();
    }

    /// <summary>The kernel has nothing to complain about.</summary>
    public static void CheckKernelLog(VivProcess viv) => Assert.Equal("", Answer(viv,
        "dmesg | grep -iE 'BUG[: ]|WARNING|lockup|rcu: INFO|stall|Oops|Call Trace|unstable|warp|blocked for more'"));

    public static void PowerOff(VivProcess viv)
    {
        viv.Send("poweroff\n");
        Assert.Equal(0, viv.WaitForExit(s_patience));
    }
}
