using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Vivarium.Cli.Guests.Debian;

/// <summary>
/// One making of a root disk: keys and password are made here, the rest is the recipe's script's work, in namespaces of
/// its own that end with viv, so that nothing of it is left running or mounted in whatever way viv ends.
/// </summary>
internal static class RootBuild
{
    public const string DiskFile = "disk.raw";
    public const string KernelPrefix = "vmlinuz-";
    public const string InitrdPrefix = "initrd.img-";
    public const string KeyFile = "ssh_key";
    public const string HostKeyFile = "ssh_host_ed25519_key.pub";
    public const string PasswordFile = "password";

    private const string ScriptFile = "build-root.sh";
    private const string SourcesFile = "sources.list";
    private const string LogFile = "debian-build.log";
    private const string PasswordLetters = "abcdefghijkmnpqrstuvwxyz23456789";
    private const int PasswordLength = 10;

    /// <summary>What the packages, their unpacked tree and the disk take while all three are there, with room to spare.</summary>
    private const long BytesNeeded = 2L << 30;

    /// <summary>Fills <paramref name="work"/>.</summary>
    /// <param name="recipe">What to make.</param>
    /// <param name="cache">Holds the log of the last attempt.</param>
    /// <param name="work">Folder for the files named above.</param>
    /// <param name="tell">Told each step, and whether it is the first of a phase.</param>
    /// <exception cref="InvalidInputException">It cannot be made; the message says why and what to do.</exception>
    /// <exception cref="InterruptedException">A signal came.</exception>
    public static void Run(RootRecipe recipe, GuestCache cache, string work, Action<string, bool> tell)
    {
        CheckSpace(cache);
        BuildTools.Require(step => tell(step, true));
        IReadOnlyList<string> sources = new DebianPackages(cache, null, step => tell(step, true)).Sources(recipe.Suite);
        if (sources.Count > 0)
        {
            File.WriteAllLines(Path.Combine(work, SourcesFile), sources);
        }

        string password = RandomNumberGenerator.GetString(PasswordLetters, PasswordLength);
        OwnerOnly.WriteNew(Path.Combine(work, PasswordFile), password + "\n");
        MakeKey(Path.Combine(work, KeyFile));
        string script = Path.Combine(work, ScriptFile);
        File.WriteAllText(script, RootRecipe.Script);

        string logFile = Path.Combine(cache.Root, LogFile);
        BuildLog log = RunScript(script, recipe, work, password, logFile, tell, out int status);
        if (status != 0)
        {
            throw new InvalidInputException($"the root disk could not be made: {log.Explain(status)} (everything that was said is in {logFile})");
        }

        File.Delete(script);
        File.Delete(Path.Combine(work, SourcesFile));
    }

    private static BuildLog RunScript(string script, RootRecipe recipe, string work, string password, string logFile, Action<string, bool> tell, out int status)
    {
        using var log = new BuildLog(logFile, tell);
        using var build = new SupervisedProcess(BuildTools.Namespace(), ["sh", script], new Dictionary<string, string>
        {
            ["WORK"] = work,
            ["SUITE"] = recipe.Suite,
            ["KERNELS"] = string.Join(' ', recipe.Kernels),
            ["SIZE"] = $"{recipe.DiskMebibytes}",
            ["PASSWORD"] = password,
        });
        status = build.Run(log.Add, out PosixSignal? interrupted);
        return interrupted is { } signal
            ? throw new InterruptedException("interrupted; the half-made root disk has been removed", signal)
            : log;
    }

    private static void CheckSpace(GuestCache cache)
    {
        long free = new DriveInfo(cache.Root).AvailableFreeSpace;
        if (free < BytesNeeded)
        {
            throw new InvalidInputException($"making the root disk takes {BytesNeeded >> 20} MiB for a while, and the file system of {cache.Root} has {free >> 20} MiB free; free some, or set XDG_CACHE_HOME to a folder elsewhere");
        }
    }

    private static void MakeKey(string file)
    {
        HostCommand made = HostCommand.Run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "vivarium", "-f", file])!.Value;
        if (!made.Succeeded)
        {
            throw new IOException($"ssh-keygen could not make a key: {made.Complaint}");
        }
    }
}
