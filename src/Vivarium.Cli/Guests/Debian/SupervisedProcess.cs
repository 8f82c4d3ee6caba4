using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vivarium.Cli.Guests.Debian;

/// <summary>A long-running program of the host whose lines are followed, and which ends when viv is asked to end.</summary>
internal sealed class SupervisedProcess : IDisposable
{
    private static readonly PosixSignal[] s_ending = [PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT];

    private readonly Process _process = new();

    /// <param name="wrapper">Words before the command; may be empty.</param>
    /// <param name="command">Program and arguments.</param>
    /// <param name="environment">Added to viv's own.</param>
    public SupervisedProcess(IReadOnlyList<string> wrapper, IReadOnlyList<string> command, IReadOnlyDictionary<string, string> environment)
    {
        string[] words = [.. wrapper, .. command];
        _process.StartInfo = new ProcessStartInfo(words[0], words[1..])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        _process.StartInfo.Environment["PATH"] = BuildTools.SearchPath;
        foreach ((string name, string value) in environment)
        {
            _process.StartInfo.Environment[name] = value;
        }
    }

    /// <summary>Runs it to its end.</summary>
    /// <param name="line">Is given each line of its standard output.</param>
    /// <param name="interrupted">The signal that ended it early, or null.</param>
    /// <returns>Its exit status.</returns>
    /// <exception cref="IOException">It cannot be started.</exception>
    public int Run(Action<string> line, out PosixSignal? interrupted)
    {
        PosixSignal? signal = null;
        bool started = false;
        void End(PosixSignalContext context)
        {
            context.Cancel = true;
            signal ??= context.Signal;
            if (Volatile.Read(ref started))
            {
                _process.Kill(entireProcessTree: true);
            }
        }

        PosixSignalRegistration[] handlers = [.. s_ending.Select(each => PosixSignalRegistration.Create(each, End))];
        try
        {
            _ = _process.Start();
            Volatile.Write(ref started, true);
            if (signal is not null)
            {
                _process.Kill(entireProcessTree: true);
            }

            _process.StandardInput.Close();
            while (_process.StandardOutput.ReadLine() is { } said)
            {
                line(said);
            }

            _process.WaitForExit();
        }
        catch (Win32Exception e)
        {
            throw new IOException($"cannot run {_process.StartInfo.FileName}: {e.Message}", e);
        }
        finally
        {
            foreach (PosixSignalRegistration handler in handlers)
            {
                handler.Dispose();
            }
        }

        interrupted = signal;
        return _process.ExitCode;
    }

    public void Dispose() => _process.Dispose();
}
