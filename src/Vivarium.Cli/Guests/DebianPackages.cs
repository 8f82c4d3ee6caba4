namespace Vivarium.Cli.Guests;

/// <summary>
/// Fetches Debian packages with <c>apt-get download</c> and unpacks them with <c>dpkg-deb -x</c>. Nothing is installed.
/// Package lists are refreshed only when the ones at hand do not know a package or point to a file that is gone; without
/// the right to refresh the system's lists, or for another architecture than the host's, private ones in the cache are used.
/// </summary>
internal sealed class DebianPackages
{
    private const string WayOut = "boot your own files with viv run --kernel FILE [--initrd FILE]";

    private readonly string _privateRoot;
    private readonly string? _architecture;
    private readonly Action<string> _progress;
    private bool _private;

    /// <param name="cache">Holds private package lists, if they are needed.</param>
    /// <param name="architecture">Debian architecture, or null for the host's own.</param>
    /// <param name="progress">Told what is being waited for.</param>
    public DebianPackages(GuestCache cache, string? architecture, Action<string> progress)
    {
        _architecture = architecture;
        _privateRoot = Path.Combine(cache.Root, architecture is null ? "apt" : $"apt-{architecture}");
        _progress = progress;
        _private = architecture is not null;
    }

    /// <summary>The versioned kernel package that a kernel meta-package stands for now.</summary>
    public string ResolveKernel(string metaPackage)
    {
        if (KernelOf(metaPackage) is { } known)
        {
            return known;
        }

        // Some source may fail that has nothing to do with the package; what counts is whether it is known now.
        HostCommand update = Refresh();
        return KernelOf(metaPackage) ?? throw new InvalidInputException(update.Succeeded
            ? $"apt knows no package {metaPackage} here; {WayOut}"
            : $"apt-get update failed ({update.Complaint}); is the network there? If not, {WayOut}");
    }

    /// <summary>Downloads a package and unpacks it below <paramref name="folder"/>.</summary>
    public void Unpack(string package, string folder)
    {
        string downloads = Path.Combine(folder, ".deb");
        Directory.CreateDirectory(downloads);
        _progress($"downloading {package}");
        HostCommand download = Apt("apt-get", ["download", package], downloads);
        if (!download.Succeeded)
        {
            // Lists that are too old name files that the mirror no longer has.
            _ = Refresh();
            _progress($"downloading {package}");
            download = Apt("apt-get", ["download", package], downloads);
        }

        string? archive = Directory.EnumerateFiles(downloads, "*.deb").FirstOrDefault();
        if (!download.Succeeded || archive is null)
        {
            throw new InvalidInputException($"apt-get could not download {package} ({download.Complaint}); is the network there? If not, {WayOut}");
        }

        _progress($"unpacking {package}");
        HostCommand unpack = HostCommand.Run("dpkg-deb", ["-x", archive, folder])
            ?? throw new InvalidInputException($"there is no dpkg-deb on this host to unpack {package}; {WayOut}");
        if (!unpack.Succeeded)
        {
            throw new IOException($"dpkg-deb could not unpack {package}: {unpack.Complaint}");
        }

        Directory.Delete(downloads, recursive: true);
    }

    /// <summary>
    /// The lines of a sources.list that name the host's own sources of a Debian suite with its updates and security fixes;
    /// none if the host has none.
    /// </summary>
    public IReadOnlyList<string> Sources(string suite)
    {
        IReadOnlyList<string> known = KnownSources(suite);
        if (known.Count > 0)
        {
            return known;
        }

        // Without package lists apt does not know yet whose sources these are.
        _ = Refresh();
        return KnownSources(suite);
    }

    private string[] KnownSources(string suite)
    {
        string[] codenames = [suite, $"{suite}-updates", $"{suite}-security"];
        HostCommand targets = Apt("apt-get", ["indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]);
        return
        [
            .. targets.Output.Split('\n')
                .Select(line => line.Split(' '))
                .Where(words => words is ["Debian", _, _, _, _] && codenames.Contains(words[1]) && words[2].StartsWith("http", StringComparison.Ordinal))
                .Select(words => $"deb {words[2]} {words[3]} {words[4]}")
                .Distinct(),
        ];
    }

    private string? KernelOf(string metaPackage)
    {
        const string Dependency = "Depends: ";
        HostCommand depends = Apt("apt-cache", ["depends", "--important", metaPackage]);
        foreach (string line in depends.Output.Split('\n', StringSplitOptions.TrimEntries))
        {
            if (line.StartsWith(Dependency + "linux-image-", StringComparison.Ordinal))
            {
                return line[Dependency.Length..];
            }
        }

        return null;
    }

    private HostCommand Refresh()
    {
        _private |= !Environment.IsPrivilegedProcess;
        if (_private)
        {
            Directory.CreateDirectory(Path.Combine(_privateRoot, "lists", "partial"));
            Directory.CreateDirectory(Path.Combine(_privateRoot, "cache", "archives", "partial"));
            File.WriteAllText(Path.Combine(_privateRoot, "status"), "");
        }

        _progress("refreshing the package lists");
        return Apt("apt-get", ["update"]);
    }

    private HostCommand Apt(string program, IEnumerable<string> words, string? folder = null)
    {
        IEnumerable<string> options = ["-q"];
        if (_private)
        {
            options =
            [
                "-q",
                "-o", $"Dir::State::lists={_privateRoot}/lists",
                "-o", $"Dir::State::status={_privateRoot}/status",
                "-o", $"Dir::Cache={_privateRoot}/cache",
                "-o", "APT::Sandbox::User=",
            ];
        }

        if (_architecture is not null)
        {
            options = [.. options, "-o", $"APT::Architecture={_architecture}", "-o", $"APT::Architectures={_architecture}"];
        }

        return HostCommand.Run(program, [.. options, .. words], folder)
            ?? throw new InvalidInputException($"there is no apt-get on this host to fetch Debian packages with; {WayOut}");
    }
}
