using Vivarium.Cli.Machines.Host;

namespace Vivarium.Cli.Machines;

/// <summary>
/// The machines of this user that run on this host: one folder for each, below <c>$XDG_RUNTIME_DIR/vivarium</c>, else
/// <c>/run/vivarium</c> (root) or <c>/tmp/vivarium-UID</c>. The process that runs a machine holds the lock file in its folder; a
/// folder whose lock is free is what a dead machine has left, and is removed by whoever meets it. All changes to the set of folders
/// happen under the registry's own lock, which is held for moments only.
/// </summary>
internal sealed class MachineRegistry(string root)
{
    private const string RegistryLock = ".lock";
    private const int MakeUpAttempts = 50;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_keepEnded = TimeSpan.FromHours(24);

    public string Root => root;

    /// <summary>The registry of this user, made where it is missing.</summary>
    /// <exception cref="InvalidInputException">Its place cannot be used or trusted.</exception>
    public static MachineRegistry Open() => Open(DefaultRoot());

    public static MachineRegistry Open(string root)
    {
        PrivateFolder.Ensure(root);
        return new MachineRegistry(root);
    }

    /// <summary>Claims a name for a machine of this process, or makes one up.</summary>
    /// <exception cref="InvalidInputException">The name is invalid or in use.</exception>
    public MachineFolder Claim(string? name)
    {
        if (name is not null)
        {
            MachineName.Check(name);
        }

        using FileLock _ = LockRegistry();
        if (name is not null)
        {
            return TryClaim(name) ?? throw new InvalidInputException(
                $"a machine named '{name}' runs already{ProcessOf(name)}; choose another --name, or end that one with viv stop {name}");
        }

        for (int attempt = 0; attempt < MakeUpAttempts; attempt++)
        {
            if (TryClaim(MachineName.MakeUp(Random.Shared)) is { } claimed)
            {
                return claimed;
            }
        }

        throw new InvalidInputException("so many machines run that no free name was found; give one with --name");
    }

    /// <summary>All machines that run, by name; with <paramref name="ended"/> also background machines that ended badly and were not replaced since.</summary>
    public IReadOnlyList<MachineEntry> List(bool ended = false)
    {
        using FileLock _ = LockRegistry();
        var entries = new List<MachineEntry>();
        foreach (string folder in Directory.EnumerateDirectories(root))
        {
            if (Look(folder) is { } entry && (ended || entry.Record?.Ended is null))
            {
                entries.Add(entry);
            }
        }

        entries.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name));
        return entries;
    }

    /// <summary>A machine that runs now.</summary>
    /// <exception cref="InvalidInputException">There is none of this name.</exception>
    public MachineEntry Find(string name)
    {
        IReadOnlyList<MachineEntry> entries = List();
        return entries.FirstOrDefault(entry => entry.Name == name) ?? throw new InvalidInputException(entries.Count == 0
            ? $"no machine named '{name}' runs, nor any other; start one with viv run --name {(MachineName.IsValid(name) ? name : "NAME")} linux"
            : $"no machine named '{name}' runs; these do: {string.Join(", ", entries.Select(entry => entry.Name))}");
    }

    /// <summary>Waits until a machine's process has let go of its folder. False if it has not within the time.</summary>
    public bool WaitUntilGone(MachineEntry machine, TimeSpan patience)
    {
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (IsHeld(machine.Folder))
        {
            if (Environment.TickCount64 >= end)
            {
                return false;
            }

            Thread.Sleep(10);
        }

        return true;
    }

    /// <summary>Whether the process behind a machine still lives.</summary>
    public bool IsHeld(string folder)
    {
        using FileLock registry = LockRegistry();
        return IsHeldNow(folder);
    }

    /// <summary>Removes the folder of a machine of this process and frees its name.</summary>
    internal void Release(string folder, FileLock held, bool keep)
    {
        try
        {
            using FileLock _ = LockRegistry();
            held.Dispose();
            if (!keep)
            {
                Remove(folder);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or VivariumException)
        {
            // The next viv that looks removes it.
            held.Dispose();
        }
    }

    private MachineFolder? TryClaim(string name)
    {
        string folder = Path.Combine(root, name);
        if (Directory.Exists(folder))
        {
            if (IsHeldNow(folder))
            {
                return null;
            }

            Remove(folder);
        }

        PrivateFolder.Ensure(folder);
        FileLock held = FileLock.TryTake(Path.Combine(folder, MachineEntry.LockFile))
            ?? throw new VivariumException($"the new folder {folder} is locked by somebody; choose another --name");
        return new MachineFolder(this, name, folder, held);
    }

    private MachineEntry? Look(string folder)
    {
        string name = Path.GetFileName(folder);
        if (!MachineName.IsValid(name))
        {
            return null;
        }

        bool held = IsHeldNow(folder);
        MachineRecord? record = MachineFolder.Read(folder);
        if (!held && (record?.Ended is null || Directory.GetLastWriteTimeUtc(folder) < DateTime.UtcNow - s_keepEnded))
        {
            Remove(folder);
            return null;
        }

        // A record with an end in a folder that is held is about to be let go.
        return new MachineEntry(name, folder, record);
    }

    private static bool IsHeldNow(string folder)
    {
        string file = Path.Combine(folder, MachineEntry.LockFile);
        if (!File.Exists(file))
        {
            return false;
        }

        using FileLock? taken = FileLock.TryTake(file);
        return taken is null;
    }

    private static void Remove(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (DirectoryNotFoundException)
        {
        }
    }

    private string ProcessOf(string name) => MachineFolder.Read(Path.Combine(root, name)) is { } record ? $" (process {record.Pid})" : "";

    private FileLock LockRegistry() => FileLock.Take(Path.Combine(root, RegistryLock), s_patience)
        ?? throw new VivariumException($"another viv holds {Path.Combine(root, RegistryLock)} and does not let go; is one of them stopped?");

    private static string DefaultRoot()
    {
        string? runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
        if (Path.IsPathRooted(runtime) && PrivateFolder.IsOwn(runtime))
        {
            return Path.Combine(runtime, "vivarium");
        }

        return Linux.EffectiveUser() == 0 ? "/run/vivarium" : $"/tmp/vivarium-{Linux.EffectiveUser()}";
    }
}
