namespace Vivarium.Cli.Guests;

/// <summary>
/// Where downloaded guests are kept: <c>$XDG_CACHE_HOME/vivarium</c>, else <c>~/.cache/vivarium</c>. An entry is a folder
/// that appears whole, by a rename, or not at all.
/// </summary>
internal sealed class GuestCache(string root)
{
    private const string WayOut = "or boot your own files with --kernel FILE [--initrd FILE]";

    /// <summary>EWOULDBLOCK of Linux: somebody else holds the lock.</summary>
    private const int WouldBlock = 11;

    public static GuestCache Default { get; } = new(Path.Combine(CacheHome(), "vivarium"));

    public string Root => root;

    /// <summary>The folder of an entry, or null if it is not there.</summary>
    public string? Find(string entry)
    {
        string path = Path.Combine(root, entry);
        return Directory.Exists(path) ? path : null;
    }

    /// <summary>
    /// The folder of an entry; if it is not there, <paramref name="fill"/> makes it in a temporary folder, for its owner
    /// only, first. Of several viv that want the same entry one makes it and the others wait.
    /// </summary>
    /// <param name="entry">Its path below <see cref="Root"/>.</param>
    /// <param name="anew">Make it again even if it is there; the old one stays until the new one is whole.</param>
    /// <param name="progress">Told if another viv has to be waited for.</param>
    /// <param name="fill">Is given the temporary folder.</param>
    /// <exception cref="InvalidInputException">The cache cannot be written.</exception>
    public string GetOrCreate(string entry, bool anew, Action<string> progress, Action<string> fill)
    {
        if (!anew && Find(entry) is { } present)
        {
            return present;
        }

        string path = Path.Combine(root, entry);
        string flat = entry.Replace('/', '-');
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            bool waited = false;
            using FileStream mine = Lock(Path.Combine(root, $".{flat}.lock"), () =>
            {
                waited = true;
                progress($"waiting for another viv that is making {entry}");
            });
            if ((!anew || waited) && Find(entry) is { } made)
            {
                return made;
            }

            RemoveAbandoned(flat);
            string work = Path.Combine(root, $".{flat}.{Environment.ProcessId}");
            OwnerOnly.CreateFolder(work);
            try
            {
                fill(work);
                Publish(work, path);
            }
            finally
            {
                Remove(work);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InvalidInputException($"cannot write to the cache folder {root} ({e.Message.TrimEnd('.')}); set XDG_CACHE_HOME to a folder that can be written, {WayOut}", e);
        }

        return path;
    }

    /// <summary>Removes what else there is beside an entry.</summary>
    public void RemoveOthers(string family, string entry)
    {
        foreach (string folder in Directory.EnumerateDirectories(Path.Combine(root, family)))
        {
            if (Path.GetFileName(folder) != entry)
            {
                Remove(folder);
            }
        }
    }

    /// <summary>Held until disposed, or until this process ends in whatever way.</summary>
    private static FileStream Lock(string file, Action onWaiting)
    {
        bool said = false;
        while (true)
        {
            try
            {
                return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException e) when (e.HResult == WouldBlock)
            {
                if (!said)
                {
                    said = true;
                    onWaiting();
                }

                Thread.Sleep(200);
            }
        }
    }

    private static void Publish(string work, string path)
    {
        if (Directory.Exists(path))
        {
            // Files that a running machine has open live on without a name.
            string old = $"{work}-old";
            Directory.Move(path, old);
            Directory.Move(work, path);
            Remove(old);
        }
        else
        {
            Directory.Move(work, path);
        }
    }

    /// <summary>
    /// Removes what killed runs have left: temporary folders whose process is gone. The caller holds the lock of
    /// <paramref name="entry"/>, so its temporaries are nobody's, whatever process has their number by now.
    /// </summary>
    private void RemoveAbandoned(string entry)
    {
        foreach (string folder in Directory.EnumerateDirectories(root, ".*"))
        {
            string name = Path.GetFileName(folder);
            int dot = name.LastIndexOf('.');
            string process = name[(dot + 1)..].Split('-')[0];
            if (int.TryParse(process, out int id) && (name[..dot] == $".{entry}" || !Directory.Exists($"/proc/{id}")))
            {
                Remove(folder);
            }
        }
    }

    private static void Remove(string folder)
    {
        if (!Directory.Exists(folder))
        {
            return;
        }

        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (UnauthorizedAccessException)
        {
            // Made in a user namespace, it holds files of its users.
            _ = HostCommand.Run("unshare", ["--map-root-user", "--map-auto", "rm", "-rf", "--", folder]);
        }
    }

    private static string CacheHome()
    {
        // The XDG rule: a relative path is to be ignored.
        string? set = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        return Path.IsPathRooted(set) ? set : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify), ".cache");
    }
}
