using System.Diagnostics;

namespace Vivarium.Firmware.Tests;

/// <summary>Runs a program of the distribution that a test compares our output with.</summary>
internal static class Tool
{
    /// <summary>Skips the test, with the reason, if the program is not installed.</summary>
    public static void Require(string name, string package)
    {
        string[] folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        Assert.SkipUnless(folders.Any(folder => File.Exists(Path.Combine(folder, name))),
            $"{name} is not installed (Debian package {package})");
    }

    /// <summary>Runs to the end and returns exit status and both outputs together.</summary>
    public static (int Status, string Output) Run(string name, string folder, byte[]? input, params string[] arguments)
    {
        var start = new ProcessStartInfo(name, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        if (input is not null)
        {
            process.StandardInput.BaseStream.Write(input);
        }

        process.StandardInput.Close();
        process.WaitForExit();
        return (process.ExitCode, output.Result + error.Result);
    }
}
