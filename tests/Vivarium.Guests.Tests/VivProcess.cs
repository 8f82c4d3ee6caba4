using System.Diagnostics;
using System.Text;
using System.Text.RegularExpressions;

namespace Vivarium.Guests.Tests;

/// <summary>A running viv whose standard streams the test holds, as a user with pipes would.</summary>
internal sealed class VivProcess : IDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly StringBuilder _errors = new();
    private readonly object _gate = new();
    private readonly List<Thread> _readers = [];
    private int _expectedUpTo;

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

    public string Output
    {
        get
        {
            lock (_gate)
            {
                return _output.ToString();
            }
        }
    }

    public string Errors
    {
        get
        {
            lock (_gate)
            {
                return _errors.ToString();
            }
        }
    }

    public static VivProcess Start(params string[] arguments) => Start(Repository.Viv, arguments, null);

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

    /// <summary>Waits until the output, after what was expected before, matches.</summary>
    public Match Expect(string pattern, TimeSpan patience)
    {
        var regex = new Regex(pattern, RegexOptions.Multiline);
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        lock (_gate)
        {
            while (true)
            {
                Match match = regex.Match(_output.ToString(), _expectedUpTo);
                if (match.Success)
                {
                    _expectedUpTo = match.Index + match.Length;
                    return match;
                }

                long left = end - Environment.TickCount64;
                if (left <= 0 || (_process.HasExited && !Monitor.Wait(_gate, 200)))
                {
                    throw new Xunit.Sdk.XunitException($"no '{pattern}' within {patience.TotalSeconds:0} s; the output was:\n{_output}\nand stderr:\n{_errors}");
                }

                _ = Monitor.Wait(_gate, (int)Math.Min(left, 500));
            }
        }
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

    private void Collect(StreamReader from, StringBuilder to)
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
                    return;
                }

                lock (_gate)
                {
                    if (count == 0)
                    {
                        Monitor.PulseAll(_gate);
                        return;
                    }

                    to.Append(buffer, 0, count);
                    Monitor.PulseAll(_gate);
                }
            }
        })
        { IsBackground = true };
        thread.Start();
        _readers.Add(thread);
    }
}
