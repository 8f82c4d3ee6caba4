using System.Security.Cryptography;
using System.Text;

namespace Vivarium.Cli.Guests.Debian;

/// <summary>
/// Debian on a disk: made once from packages (<see cref="RootBuild"/>) and kept in the cache, where it is the base of
/// every machine's own changes.
/// </summary>
/// <param name="Name">What <c>viv run</c> calls it.</param>
/// <param name="Description">One line for a list.</param>
/// <param name="Kernels">Kernel packages, the one to boot first.</param>
internal sealed record DebianGuest(string Name, string Description, IReadOnlyList<string> Kernels) : IGuest
{
    private const string RootUser = "root";
    private const string OrdinaryUser = "debian";
    private const int DiskMebibytes = 8192;
    private const int ListedKeyLength = 8;

    public string Packages => $"{string.Join(", ", Kernels)}, systemd-sysv, openssh-server, ...";

    /// <summary>The entry's name tells the recipe, so that a root made by another one is never taken for it.</summary>
    public string CacheEntry => $"{Family}/{RecipeKey}";

    private string Family => $"guests/{Name}";

    private string RecipeKey =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Recipe.ToString())).AsSpan(0, ListedKeyLength));

    private RootRecipe Recipe => new(DebianRelease.Suite, Kernels, DiskMebibytes);

    public bool IsCached(GuestCache cache) => cache.Find(CacheEntry) is not null;

    public BootSet Obtain(GuestCache cache, bool rebuild = false) => Describe(Folder(cache, rebuild), "");

    /// <summary>The same root with the kernel whose version begins so.</summary>
    public BootSet Obtain(GuestCache cache, string kernelVersion) => Describe(Folder(cache, rebuild: false), kernelVersion);

    /// <summary>What stands in a folder that holds a root disk and what belongs to it.</summary>
    public static BootSet Describe(string folder, string kernelVersion)
    {
        string kernel = Directory.EnumerateFiles(folder, $"{RootBuild.KernelPrefix}{kernelVersion}*").Order(StringComparer.Ordinal).FirstOrDefault()
            ?? throw new InvalidInputException($"the cached root disk in {folder} has no kernel {kernelVersion}; make it again with --rebuild");
        string version = Path.GetFileName(kernel)[RootBuild.KernelPrefix.Length..];
        string password = File.ReadAllText(Path.Combine(folder, RootBuild.PasswordFile)).Trim();
        string[] hostKey = File.ReadAllText(Path.Combine(folder, RootBuild.HostKeyFile)).Split(' ');
        return new BootSet(kernel, Path.Combine(folder, RootBuild.InitrdPrefix + version), $"root=LABEL=debian ro {LinuxCommandLine.Common}")
        {
            Disk = Path.Combine(folder, RootBuild.DiskFile),
            Logins = [new GuestLogin(RootUser, password), new GuestLogin(OrdinaryUser, password)],
            Ssh = new SshAccess(RootUser, Path.Combine(folder, RootBuild.KeyFile), $"{hostKey[0]} {hostKey[1].Trim()}"),
        };
    }

    private string Folder(GuestCache cache, bool rebuild)
    {
        if (!rebuild && cache.Find(CacheEntry) is { } present)
        {
            return present;
        }

        string made = Waiting.Show($"making the {Name} root disk", tell => cache.GetOrCreate(CacheEntry, rebuild, step => tell(step, true), work =>
            RootBuild.Run(Recipe, cache, work, tell)));
        cache.RemoveOthers(Family, RecipeKey);
        return made;
    }
}
