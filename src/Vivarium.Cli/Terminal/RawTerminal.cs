using System.Diagnostics;
using Vivarium.Cli.Terminal.Host;

namespace Vivarium.Cli.Terminal;

/// <summary>
/// Puts the terminal on standard input into raw mode, so that every key goes to the guest, and gives it back as it was:
/// on disposal, and by a small watcher process when viv dies without a chance to do it (SIGKILL, a fatal fault).
/// </summary>
internal sealed unsafe class RawTerminal : IDisposable
{
    // Runs until the pipe on its standard input says a word (all is well) or just ends (viv is gone).
    private const string WatcherScript = "trap '' HUP INT TERM QUIT TSTP TTOU; read -r word || { stty -F /dev/tty \"$0\"; printf '%b' \"$1\" > /dev/tty; }";

    private readonly Lock _lock = new();
    private readonly Process? _watcher;
    private Posix.Termios _saved;
    private Posix.Termios _raw;
    private bool _restored;

    private RawTerminal(Posix.Termios saved, string leave)
    {
        _saved = saved;
        _raw = saved;
        Posix.Termios raw = saved;
        Posix.CfMakeRaw(&raw);
        _raw = raw;
        _watcher = StartWatcher(leave);
        Apply();
    }

    public static bool IsTerminal(int fd) => Posix.IsATty(fd) == 1;

    /// <summary>Null if standard input is no terminal.</summary>
    /// <param name="leave">What the watcher writes to the terminal besides, in the notation of printf.</param>
    public static RawTerminal? Enter(string leave = "")
    {
        Posix.Termios saved;
        return IsTerminal(Posix.StandardInput) && Posix.TcGetAttr(Posix.StandardInput, &saved) == 0 ? new RawTerminal(saved, leave) : null;
    }

    /// <summary>Sets raw mode again, after the job was stopped and continued.</summary>
    public void Apply()
    {
        lock (_lock)
        {
            if (!_restored)
            {
                Posix.Termios raw = _raw;
                _ = Posix.TcSetAttr(Posix.StandardInput, Posix.SetAttributesNow, &raw);
            }
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_restored)
            {
                return;
            }

            _restored = true;
            Posix.Termios saved = _saved;
            _ = Posix.TcSetAttr(Posix.StandardInput, Posix.SetAttributesNow, &saved);
        }

        try
        {
            _watcher?.StandardInput.WriteLine("done");
            _watcher?.StandardInput.Close();
            _watcher?.Dispose();
        }
        catch (IOException)
        {
            // The watcher is gone already; the terminal is restored all the same.
        }
    }

    private static Process? StartWatcher(string leave)
    {
        try
        {
            using var stty = Process.Start(new ProcessStartInfo("stty", ["-F", "/dev/tty", "-g"]) { RedirectStandardOutput = true, RedirectStandardError = true });
            string settings = stty!.StandardOutput.ReadToEnd().Trim();
            stty.WaitForExit();
            return stty.ExitCode != 0 ? null : Process.Start(new ProcessStartInfo("sh", ["-c", WatcherScript, settings, leave])
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            });
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // No sh or stty: everything but a sudden death still restores.
            return null;
        }
    }
}
