namespace Vivarium.Share.Tests;

/// <summary>A folder to share, and one beside it that must never be reached, for as long as a test lasts.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    /// <summary>Memory, if the host has it: flushes to a real disk are most of a test's time.</summary>
    private const string Memory = "/dev/shm";

    private readonly string _base = Directory.CreateDirectory(System.IO.Path.Combine(
        Directory.Exists(Memory) ? Memory : System.IO.Path.GetTempPath(), $"vivarium-share-{Guid.NewGuid():N}")).FullName;

    public TemporaryFolder()
    {
        Directory.CreateDirectory(Path);
        Directory.CreateDirectory(Outside);
        File.WriteAllText(System.IO.Path.Combine(Outside, "secret"), "secret");
    }

    public string Path => System.IO.Path.Combine(_base, "shared");

    public string Outside => System.IO.Path.Combine(_base, "outside");

    /// <summary>The path of something in the shared folder.</summary>
    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose()
    {
        Unlock(_base);
        Directory.Delete(_base, recursive: true);
    }

    /// <summary>Guests make folders that nobody may enter.</summary>
    private static void Unlock(string folder)
    {
        File.SetUnixFileMode(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        foreach (string inner in Directory.EnumerateDirectories(folder).Where(inner => new DirectoryInfo(inner).LinkTarget is null))
        {
            Unlock(inner);
        }
    }
}
