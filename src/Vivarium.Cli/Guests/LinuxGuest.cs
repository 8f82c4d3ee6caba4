using System.Security.Cryptography;
using System.Text;
using Spectre.Console;

namespace Vivarium.Cli.Guests;

/// <summary>A Debian kernel with a busybox shell: two packages, unpacked into the cache, and an initramfs made here.</summary>
internal sealed record LinuxGuest(string Name, string Description, string KernelPackage, string? Architecture = null)
{
    private const string ShellPackage = "busybox-static";
    private const string KernelFile = "vmlinuz";
    private const string ShellFile = "busybox";

    /// <summary>
    /// Serial console, and no kernel messages on it. Linux reads the TSC's frequency from CPUID on Intel processors only;
    /// told by the command line, it need not measure it against slower clocks.
    /// </summary>
    private static string CommandLine => $"console=ttyS0 quiet tsc_early_khz={HostReport.TscFrequency / 1000}";

    public string Packages => $"{KernelPackage}, {ShellPackage}";

    public bool IsCached(GuestCache cache) => cache.Find(CacheEntry) is not null;

    private string CacheEntry => $"guests/{Name}";

    /// <summary>The guest's files: from the cache, or fetched into it.</summary>
    /// <exception cref="InvalidInputException">They cannot be had; the message says why and what to do instead.</exception>
    public BootSet Obtain(GuestCache cache)
    {
        string folder = cache.Find(CacheEntry) ?? FetchShowingProgress(cache);
        return new BootSet(Path.Combine(folder, KernelFile), InitramfsFor(cache, folder), CommandLine);
    }

    private string FetchShowingProgress(GuestCache cache)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        if (!console.Profile.Capabilities.Interactive || Console.IsErrorRedirected)
        {
            return Fetch(cache, step => Console.Error.WriteLine($"viv: {step}"));
        }

        return console.Status().Start($"viv: fetching {Name}", status => Fetch(cache, step => status.Status($"viv: {Markup.Escape(step)}")));
    }

    private string Fetch(GuestCache cache, Action<string> progress) => cache.GetOrCreate(CacheEntry, folder =>
    {
        var packages = new DebianPackages(cache, Architecture, progress);
        string unpacked = Path.Combine(folder, "unpacked");
        Directory.CreateDirectory(unpacked);
        packages.Unpack(packages.ResolveKernel(KernelPackage), unpacked);
        packages.Unpack(ShellPackage, unpacked);
        File.Move(Single(Path.Combine(unpacked, "boot"), "vmlinuz-*"), Path.Combine(folder, KernelFile));
        File.Move(Single(Path.Combine(unpacked, "bin"), "busybox"), Path.Combine(folder, ShellFile));
        Directory.Delete(unpacked, recursive: true);
    });

    private static string Single(string folder, string pattern) => (Directory.Exists(folder) ? Directory.EnumerateFiles(folder, pattern).FirstOrDefault() : null)
        ?? throw new VivariumException($"the package holds no {Path.GetFileName(folder)}/{pattern}");

    /// <summary>The initramfs belongs to this version of viv; its name says what is in it, so that a stale one is never used.</summary>
    private static string InitramfsFor(GuestCache cache, string folder)
    {
        string busybox = Path.Combine(folder, ShellFile);
        byte[] identity = SHA256.HashData(Encoding.UTF8.GetBytes($"{ShellInitramfs.Init}{ShellInitramfs.Profile}{new FileInfo(busybox).Length}"));
        string entry = $"initramfs/{Convert.ToHexStringLower(identity.AsSpan(0, 8))}";
        return Path.Combine(
            cache.GetOrCreate(entry, work => File.WriteAllBytes(Path.Combine(work, "initramfs.cpio"), ShellInitramfs.Build(busybox))),
            "initramfs.cpio");
    }
}
