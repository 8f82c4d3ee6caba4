using System.Runtime.InteropServices;

namespace Vivarium.Cli.Guests.Debian;

/// <summary>What the host must have so that a root disk can be made and run.</summary>
internal static class BuildTools
{
    private static readonly (string Program, string Package)[] s_tools =
    [
        ("mmdebstrap", "mmdebstrap"),
        ("mke2fs", "e2fsprogs"),
        ("ssh-keygen", "openssh-client"),
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
    ];

    /// <summary>Not needed to make the disk, but by everybody who runs it: its network.</summary>
    private static readonly (string Library, string Package) s_network = ("libslirp.so.0", "libslirp0");

    /// <summary>Who is not root maps users by newuidmap.</summary>
    private static readonly (string Program, string Package) s_userMapping = ("newuidmap", "uidmap");

    /// <summary>Where programs stand that an ordinary user's PATH need not name.</summary>
    private static readonly string[] s_systemFolders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

    /// <summary>The PATH to run them with.</summary>
    public static string SearchPath => $"{Environment.GetEnvironmentVariable("PATH")}:{string.Join(':', s_systemFolders)}";

    /// <summary>Makes sure that they are there; root installs what is missing.</summary>
    /// <exception cref="InvalidInputException">Something is missing and cannot be installed.</exception>
    public static void Require(Action<string> progress)
    {
        string[] missing = Missing();
        if (missing.Length == 0)
        {
            return;
        }

        string packages = string.Join(' ', missing);
        if (!Environment.IsPrivilegedProcess)
        {
            throw new InvalidInputException($"making and running a Debian root disk needs what is not here; install it with: apt-get install {packages}");
        }

        progress($"installing {packages}");
        HostCommand install = Install(missing);
        if (!install.Succeeded)
        {
            _ = HostCommand.Run("apt-get", ["-q", "update"]);
            install = Install(missing);
        }

        if (!install.Succeeded || Missing().Length > 0)
        {
            throw new InvalidInputException($"making a Debian root disk needs {packages}, and apt-get could not install that ({install.Complaint})");
        }
    }

    /// <summary>
    /// The words before a command that give it mounts and processes of its own and end it with its caller; for an ordinary
    /// user also users of its own, of which the caller is root.
    /// </summary>
    /// <exception cref="InvalidInputException">An ordinary user may have no such namespace here.</exception>
    public static string[] Namespace()
    {
        string[] own = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"];
        if (Environment.IsPrivilegedProcess)
        {
            // In a container root may lack the right to it; mmdebstrap then does with what there is.
            return Works(own) ? own : ["setpriv", "--pdeathsig", "KILL"];
        }

        own = [.. own, "--map-root-user", "--map-auto"];
        return Works(own)
            ? own
            : throw new InvalidInputException("making a root disk without being root needs user namespaces and a range of ids for you in /etc/subuid and /etc/subgid; set them up (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME), or run viv as root");
    }

    private static bool Works(string[] words) => HostCommand.Run(words[0], [.. words[1..], "true"]) is { Succeeded: true };

    private static string[] Missing()
    {
        IEnumerable<(string Program, string Package)> needed = Environment.IsPrivilegedProcess ? s_tools : [.. s_tools, s_userMapping];
        string[] folders = SearchPath.Split(':', StringSplitOptions.RemoveEmptyEntries);
        IEnumerable<string> programs = needed.Where(tool => !folders.Any(folder => File.Exists(Path.Combine(folder, tool.Program)))).Select(tool => tool.Package);
        return [.. programs.Distinct(), .. NativeLibrary.TryLoad(s_network.Library, out _) ? Array.Empty<string>() : [s_network.Package]];
    }

    private static HostCommand Install(string[] packages) =>
        HostCommand.Run("apt-get", ["-q", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", "install", .. packages], environment: new Dictionary<string, string> { ["DEBIAN_FRONTEND"] = "noninteractive" })
        ?? new HostCommand(1, "", "there is no apt-get on this host");
}
