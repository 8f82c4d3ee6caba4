namespace Vivarium.Storage.Tests;

/// <summary>The xunit test program; with <c>--write-until-killed</c>, the victim of the crash tests.</summary>
internal static class Program
{
    private static int Main(string[] args)
    {
        if (args is [CrashTests.VictimOption, string path, string seed])
        {
            CrashTests.WriteUntilKilled(path, int.Parse(seed, System.Globalization.CultureInfo.InvariantCulture));
        }

        return args.Contains("--server") || args.Contains("--internal-msbuild-node")
            ? Xunit.MicrosoftTestingPlatform.TestPlatformTestFramework.RunAsync(args, SelfRegisteredExtensions.AddSelfRegisteredExtensions).GetAwaiter().GetResult()
            : Xunit.Runner.InProc.SystemConsole.ConsoleRunner.Run(args).GetAwaiter().GetResult();
    }
}
