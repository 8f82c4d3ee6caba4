using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vivarium.Cli.Machines;

namespace Vivarium.Cli.Verbs;

/// <summary><c>viv run -d</c>: runs viv again, apart from this terminal, and returns when its machine has started or failed.</summary>
internal static class BackgroundRun
{
    private static readonly TimeSpan s_lastWords = TimeSpan.FromMilliseconds(100);

    public static int Start(RunOptions options)
    {
        using Process child = Process.Start(Itself())!;
        child.StandardInput.Close();
        var errors = new Thread(() => PassOn(child.StandardError)) { IsBackground = true, Name = "child errors" };
        errors.Start();
        string? started = child.StandardOutput.ReadLine();
        if (started is null)
        {
            child.WaitForExit();
            errors.Join();
            return child.ExitCode == ExitStatus.Success ? ExitStatus.Failure : child.ExitCode;
        }

        // The child has let go of stderr by now, unless it said something itself.
        _ = errors.Join(s_lastWords);
        MachineRecord record = JsonSerializer.Deserialize(started, BackgroundJson.Default.MachineRecord)!;
        Console.Out.WriteLine(options.Json ? JsonSerializer.Serialize(record, MachineJson.Default.MachineRecord) : record.Name);
        return ExitStatus.Success;
    }

    private static ProcessStartInfo Itself()
    {
        string program = Environment.ProcessPath ?? throw new VivariumException("this process does not know its own program file, so it cannot run it in the background");
        string[] words = Environment.GetCommandLineArgs();

        // Run as "dotnet viv.dll", the program is dotnet and the first word the library; otherwise the first word is the program.
        IEnumerable<string> arguments = Path.GetFileNameWithoutExtension(program) == "dotnet" ? words : words.Skip(1);
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment[BackgroundChild.Mark] = "1";
        return start;
    }

    private static void PassOn(StreamReader errors)
    {
        while (errors.ReadLine() is { } line)
        {
            Console.Error.WriteLine(line);
        }
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(MachineRecord))]
internal sealed partial class BackgroundJson : JsonSerializerContext;
