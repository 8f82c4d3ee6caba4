using System.Diagnostics;

namespace Vivarium.Storage.Tests;

/// <summary>QEMU's disk tools, which say what is right.</summary>
internal static class Qemu
{
    private const string Package = "qemu-utils";

    /// <summary>Skips the test, with the reason, if the tools are not installed.</summary>
    public static void Require()
    {
        string[] folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        Assert.SkipUnless(folders.Any(folder => File.Exists(Path.Combine(folder, "qemu-img"))), $"qemu-img is not installed (Debian package {Package})");
    }

    /// <summary>Runs qemu-img, which must succeed.</summary>
    public static string Img(params string[] arguments)
    {
        (int status, string output) = Run("qemu-img", arguments);
        Assert.True(status == 0, $"qemu-img {string.Join(' ', arguments)}: status {status}: {output}");
        return output;
    }

    /// <summary>Runs commands of qemu-io on an image; they must succeed.</summary>
    public static string Io(string path, params string[] commands)
    {
        (int status, string output) = TryIo(path, commands);
        Assert.True(status == 0 && !output.Contains("failed", StringComparison.Ordinal), $"qemu-io {path} {string.Join("; ", commands)}: status {status}: {output}");
        return output;
    }

    public static (int Status, string Output) TryIo(string path, params string[] commands) =>
        Run("qemu-io", [.. commands.SelectMany(command => new[] { "-c", command }), path]);

    /// <summary>The image has neither corruption nor leak.</summary>
    public static void Check(string path)
    {
        (int status, string output) = Run("qemu-img", ["check", path]);
        Assert.True(status == 0, $"qemu-img check {path}: status {status}: {output}");
    }

    /// <summary>The image has no corruption; clusters may have leaked.</summary>
    public static void CheckSound(string path)
    {
        (int status, string output) = Run("qemu-img", ["check", path]);
        Assert.True(status is 0 or 3, $"qemu-img check {path}: status {status}: {output}");
    }

    public static void Compare(string one, string other) => Img("compare", one, other);

    public static (int Status, string Output) Run(string name, string[] arguments)
    {
        var start = new ProcessStartInfo(name, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + error.Result);
    }
}
