using System.IO.Hashing;
using System.Text;

namespace Vivarium.Cli.Guests;

/// <summary>A Debian kernel with a busybox shell: two packages, unpacked into the cache, and an initramfs made here.</summary>
internal sealed record LinuxGuest(string Name, string Description, string KernelPackage, string? Architecture = null) : IGuest
{
    private const string ShellPackage = "busybox-static";
    private const string KernelFile = "vmlinuz";
    private const string ShellFile = "busybox";

    public string Packages => $"{KernelPackage}, {ShellPackage}";

    public bool IsCached(GuestCache cache) => cache.Find(CacheEntry) is not null;

    private string CacheEntry => $"guests/{Name}";

    public BootSet Obtain(GuestCache cache, bool rebuild = false)
    {
        string? cached = rebuild ? null : cache.Find(CacheEntry);
        string folder = cached ?? Waiting.Show($"fetching {Name}", tell => Fetch(cache, rebuild, step => tell(step, true)));
        return new BootSet(Path.Combine(folder, KernelFile), InitramfsFor(cache, folder), LinuxCommandLine.Common);
    }

    private string Fetch(GuestCache cache, bool rebuild, Action<string> progress) => cache.GetOrCreate(CacheEntry, rebuild, progress, folder =>
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
        ulong identity = XxHash64.HashToUInt64(Encoding.UTF8.GetBytes($"{ShellInitramfs.Init}{ShellInitramfs.Profile}{new FileInfo(busybox).Length}"));
        string entry = $"initramfs/{identity:x16}";
        return Path.Combine(
            cache.GetOrCreate(entry, false, _ => { }, work => File.WriteAllBytes(Path.Combine(work, "initramfs.cpio"), ShellInitramfs.Build(busybox))),
            "initramfs.cpio");
    }
}
