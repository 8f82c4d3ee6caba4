namespace Vivarium.Cli.Guests;

/// <summary>
/// Where downloaded guests are kept: <c>$XDG_CACHE_HOME/vivarium</c>, else <c>~/.cache/vivarium</c>. An entry is a folder
/// that appears whole, by a rename, or not at all.
/// </summary>
internal sealed class GuestCache(string root)
{
    private const string WayOut = "or boot your own files with --kernel FILE [--initrd FILE]";

    public static GuestCache Default { get; } = new(Path.Combine(CacheHome(), "vivarium"));

    public string Root => root;

    /// <summary>The folder of an entry, or null if it is not there.</summary>
    public string? Find(string entry)
    {
        string path = Path.Combine(root, entry);
        return Directory.Exists(path) ? path : null;
    }

    /// <summary>The folder of an entry; if it is not there, <paramref name="fill"/> makes it in a temporary folder first.</summary>
    /// <exception cref="InvalidInputException">The cache cannot be written.</exception>
    public string GetOrCreate(string entry, Action<string> fill)
    {
        if (Find(entry) is { } present)
        {
            return present;
        }

        string path = Path.Combine(root, entry);
        string work = Path.Combine(root, $".{entry.Replace('/', '-')}.{Environment.ProcessId}");
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            RemoveAbandoned();
            Directory.CreateDirectory(work);
            try
            {
                fill(work);
                Publish(work, path);
            }
            finally
            {
                if (Directory.Exists(work))
                {
                    Directory.Delete(work, recursive: true);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InvalidInputException($"cannot write to the cache folder {root} ({e.Message.TrimEnd('.')}); set XDG_CACHE_HOME to a folder that can be written, {WayOut}", e);
        }

        return path;
    }

    private static void Publish(string work, string path)
    {
        try
        {
            Directory.Move(work, path);
        }
        catch (IOException) when (Directory.Exists(path))
        {
            // Another viv was faster; its copy is as good.
        }
    }

    /// <summary>Removes what killed runs have left: temporary folders whose process is gone.</summary>
    private void RemoveAbandoned()
    {
        foreach (string folder in Directory.EnumerateDirectories(root, ".*"))
        {
            string process = Path.GetExtension(folder).TrimStart('.');
            if (int.TryParse(process, out int id) && !Directory.Exists($"/proc/{id}"))
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    private static string CacheHome()
    {
        // The XDG rule: a relative path is to be ignored.
        string? set = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        return Path.IsPathRooted(set) ? set : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify), ".cache");
    }
}
