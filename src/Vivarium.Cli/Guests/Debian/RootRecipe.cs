namespace Vivarium.Cli.Guests.Debian;

/// <summary>All that decides what a root disk holds, apart from the packages' versions.</summary>
internal sealed record RootRecipe(string Suite, IReadOnlyList<string> Kernels, int DiskMebibytes)
{
    private const string ScriptResource = "build-root.sh";

    /// <summary>The shell script that makes it.</summary>
    public static string Script { get; } = ReadScript();

    public override string ToString() => $"{Suite} {string.Join(',', Kernels)} {DiskMebibytes}\n{Script}";

    private static string ReadScript()
    {
        using var reader = new StreamReader(typeof(RootRecipe).Assembly.GetManifestResourceStream(ScriptResource)!);
        return reader.ReadToEnd();
    }
}
