using System.Runtime.InteropServices;
using System.Text.Json;
using Vivarium.Cli.Machines;
using Vivarium.Cli.Machines.Host;
using Vivarium.Cli.Terminal;
using Vivarium.Cli.Terminal.Host;

namespace Vivarium.Cli.Verbs;

/// <summary>
/// The side of <c>viv run -d</c> that runs the machine: a session of its own, without a terminal. Until the machine has started its
/// stdout and stderr lead to the viv that the user called; then they go to a log in the machine's folder.
/// </summary>
internal sealed class BackgroundChild
{
    /// <summary>Set by the viv that the user called. An option would not do: users' words are passed on as they are.</summary>
    public const string Mark = "VIVARIUM_BACKGROUND_CHILD";

    private const uint OwnerOnly = 0x180; // 0600

    private BackgroundChild()
    {
    }

    /// <summary>Null unless this process was started as a background machine. The programs that it starts in turn are not.</summary>
    public static BackgroundChild? Take()
    {
        if (Environment.GetEnvironmentVariable(Mark) is not "1")
        {
            return null;
        }

        Environment.SetEnvironmentVariable(Mark, null);
        _ = Linux.NewSession();
        return new BackgroundChild();
    }

    /// <summary>Tells the caller that the machine runs, and leaves it.</summary>
    /// <exception cref="VivariumException">The caller is gone, so that nobody knows of this machine; or there is no log.</exception>
    public void Started(MachineRecord record)
    {
        int log = Linux.Open(record.Log!, Linux.OpenWriteOnly | Linux.OpenCreate | Linux.OpenAppend | Linux.OpenNoFollow | Linux.OpenCloseOnExec, OwnerOnly);
        int nothing = Linux.Open("/dev/null", Linux.OpenReadWrite | Linux.OpenCloseOnExec, 0);
        if (log < 0 || nothing < 0)
        {
            throw new VivariumException($"cannot write the log {record.Log}: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        using var output = new StandardOutput();
        try
        {
            output.Write([.. JsonSerializer.SerializeToUtf8Bytes(record, BackgroundJson.Default.MachineRecord), (byte)'\n']);
        }
        catch (IOException e)
        {
            throw new VivariumException("the viv that started this machine has gone away", e);
        }

        _ = Linux.Duplicate(nothing, Posix.StandardInput);
        _ = Linux.Duplicate(log, Posix.StandardOutput);
        _ = Linux.Duplicate(log, Posix.StandardError);
        _ = Linux.Close(nothing);
        _ = Linux.Close(log);

        // The console class works on a duplicate of the old descriptor. Standard output leads to the log now, and appends.
        Console.SetError(new StreamWriter(new StandardOutput()) { AutoFlush = true });
    }
}
