using Vivarium.Cli.Guests;
using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>A root shell on a Debian's serial console.</summary>
internal sealed class DebianShell(IGuestConsole console, BootSet boot)
{
    private static readonly TimeSpan s_bootPatience = TimeSpan.FromSeconds(300);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);

    /// <summary>Waits for the prompt and logs in.</summary>
    public void LogIn()
    {
        (string user, string password) = boot.Logins[0];
        console.Expect("debian login: ", s_bootPatience);
        console.Send($"{user}\n");
        console.Expect("Password: ", s_patience);
        console.Send($"{password}\n");
        console.Expect("# ", s_patience);
        // No line editor, no echo and no prompt between commands and answers.
        console.Send("exec sh\nPS1=; stty -echo; echo rea''dy\n");
        console.Expect(@"ready\r?$", s_patience);
    }

    /// <summary>What a command that must succeed prints.</summary>
    public string Answer(string command)
    {
        (int status, string said) = Try(command);
        Assert.True(status == 0, $"{command}: status {status}\n{said}");
        return said;
    }

    public (int Status, string Said) Try(string command)
    {
        // The end stands on a line of its own, whether or not the answer ends its last line.
        console.Send($"echo BEG''IN; {{ {command}; }} 2>&1; printf '\\nE%s %s\\n' ND $?\n");
        var match = console.Expect(@"^BEGIN\r?\n([^\x00]*?)^END (\d+)\r?$", s_patience);
        return (int.Parse(match.Groups[2].Value, System.Globalization.CultureInfo.InvariantCulture), match.Groups[1].Value.Replace("\r", "", StringComparison.Ordinal).Trim());
    }

    /// <summary>Everything that was to start has started, and the kernel has nothing to complain about.</summary>
    public void CheckHealth()
    {
        (_, string state) = Try("systemctl is-system-running --wait");
        string failed = Answer("systemctl list-units --failed --plain --no-legend --no-pager");
        Assert.True(state is "running" or "degraded", $"the system is {state}; failed units: {failed}");
        if (state == "degraded")
        {
            TestContext.Current.AddWarning($"the system is degraded; failed units: {failed}");
        }

        Assert.Equal("", Answer("dmesg | grep -E 'BUG|WARNING|soft lockup|Oops|Call Trace|I/O error' || true"));
    }
}
