using System.Diagnostics;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Programs of the host that tests judge by. A test whose program is not there is skipped.</summary>
internal static class HostTool
{
    public static void Need(params (string Program, string Package)[] tools)
    {
        foreach ((string program, string package) in tools)
        {
            string[] folders = [.. Environment.GetEnvironmentVariable("PATH")!.Split(':'), "/usr/sbin", "/sbin"];
            Assert.SkipUnless(folders.Any(folder => File.Exists(Path.Combine(folder, program))), $"there is no {program} here (package {package})");
        }
    }

    /// <summary>Runs a program and gives its status and what it said.</summary>
    public static (int Status, string Said) Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["PATH"] = $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin";
        start.Environment["LC_ALL"] = "C";
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, $"{output}{errors.GetAwaiter().GetResult()}");
    }

    /// <summary>Runs a program that must succeed.</summary>
    public static string Must(string program, params string[] arguments)
    {
        (int status, string said) = Run(program, arguments);
        Assert.True(status == 0, $"{program} {string.Join(' ', arguments)}: status {status}\n{said}");
        return said;
    }
}
