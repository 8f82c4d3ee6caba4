using System.Diagnostics;
using System.Text;
using System.Text.RegularExpressions;

namespace Vivarium.Guests.Tests;

/// <summary>A running viv whose standard streams the test holds, as a user with pipes would.</summary>
internal sealed class VivProcess : IGuestConsole, IDisposable
{
    private readonly Process _process;
    private readonly Transcript _output = new();
    private readonly Transcript _errors = new();
    private readonly List<Thread> _readers = [];

    private VivProcess(Process process)
    {
        _process = process;
        Collect(process.StandardOutput, _output);
        Collect(process.StandardError, _errors);
    }

    public int Id => _process.Id;

    public TimeSpan CpuTime
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime;
        }
    }

    public string Output => _output.ToString();

    public string Errors => _errors.ToString();

    public static VivProcess Start(params string[] arguments) => Start(Repository.Viv, TestOptions.With(arguments), null);

    public static VivProcess Start(string program, string[] arguments, IReadOnlyDictionary<string, string>? environment)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.Latin1,
        };
        foreach ((string name, string value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }

        return new VivProcess(Process.Start(start)!);
    }

    /// <summary>Runs viv to its end.</summary>
    public static (int Status, string Output, string Errors) Run(params string[] arguments) => Run(arguments, null);

    public static (int Status, string Output, string Errors) Run(string[] arguments, IReadOnlyDictionary<string, string>? environment)
    {
        using VivProcess viv = Start(Repository.Viv, arguments, environment);
        viv._process.StandardInput.Close();
        int status = viv.WaitForExit(TimeSpan.FromSeconds(120));
        return (status, viv.Output, viv.Errors);
    }

    public void Send(string text)
    {
        _process.StandardInput.Write(text);
        _process.StandardInput.Flush();
    }

    public void CloseInput() => _process.StandardInput.Close();

    public Match Expect(string pattern, TimeSpan patience) => _output.Expect(pattern, patience, () => $"and stderr:\n{_errors}");

    public Match ExpectError(string pattern, TimeSpan patience) => _errors.Expect(pattern, patience);

    /// <summary>Ends it by SIGKILL, as by pulling the plug.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    public int WaitForExit(TimeSpan patience)
    {
        if (!_process.WaitForExit(patience))
        {
            throw new Xunit.Sdk.XunitException($"viv did not end within {patience.TotalSeconds:0} s; the output was:\n{Output}\nand stderr:\n{Errors}");
        }

        // What it wrote last may still be on its way through the pipes.
        _readers.ForEach(reader => reader.Join(TimeSpan.FromSeconds(5)));
        return _process.ExitCode;
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }

        _process.Dispose();
    }

    private void Collect(StreamReader from, Transcript to)
    {
        var thread = new Thread(() =>
        {
            char[] buffer = new char[4096];
            while (true)
            {
                int count;
                try
                {
                    count = from.Read(buffer);
                }
                catch (Exception e) when (e is IOException or ObjectDisposedException)
                {
                    count = 0;
                }

                if (count == 0)
                {
                    to.End();
                    return;
                }

                to.Add(buffer.AsSpan(0, count));
            }
        })
        { IsBackground = true };
        thread.Start();
        _readers.Add(thread);
    }
}
