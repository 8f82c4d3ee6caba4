using Vivarium.Cli.Guests;
using Vivarium.Cli.Guests.Debian;

namespace Vivarium.Guests.Tests;

/// <summary>Debian's kernels as packaged, each with a busybox shell, fetched once into the cache.</summary>
internal static class TestGuests
{
    private static readonly GuestCache s_cache = new(Path.Combine(GuestCache.Default.Root, "test-guests"));
    private static readonly Lazy<BootSet> s_cloud61 = Fetch("linux", "linux-image-cloud-amd64");
    private static readonly Lazy<BootSet> s_cloud612 = Fetch("linux-6.12", "linux-image-6.12-cloud-amd64");
    private static readonly DebianGuest s_debian = new("debian", "", ["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"]);
    private static readonly DebianGuest s_debianFull = new("debian-full", "", ["linux-image-amd64"]);
    private static readonly Lazy<BootSet> s_i386WithoutPae = Fetch("linux-686", "linux-image-686", "i386");
    private static readonly Lazy<BootSet> s_i386 = Fetch("linux-686-pae", "linux-image-686-pae", "i386");

    /// <summary>Linux 6.1, amd64, cloud flavour.</summary>
    public static BootSet Cloud61 => s_cloud61.Value;

    /// <summary>Linux 6.12, amd64, cloud flavour.</summary>
    public static BootSet Cloud612 => s_cloud612.Value;

    /// <summary>Linux 6.1, i386, 686-pae, with a 32-bit busybox.</summary>
    public static BootSet I386 => s_i386.Value;

    /// <summary>Linux 6.1, i386, 686: paging with two levels.</summary>
    public static BootSet I386WithoutPae => s_i386WithoutPae.Value;

    /// <summary>Debian on a disk, one for all kernels, with one of them: "6.1." or "6.12.".</summary>
    public static BootSet Debian(string kernelVersion)
    {
        lock (s_debian)
        {
            return s_debian.Obtain(s_cache, kernelVersion);
        }
    }

    /// <summary>Debian on a disk with the kernel for PCs, which has drivers for everything.</summary>
    public static BootSet DebianFull()
    {
        lock (s_debianFull)
        {
            return s_debianFull.Obtain(s_cache);
        }
    }

    /// <summary>A cache folder for <c>viv run debian</c> (XDG_CACHE_HOME) that has the tests' root disk in it, so that none is made.</summary>
    public static string CacheWithDebian(string scratch)
    {
        string cache = Path.Combine(scratch, "cache");
        string entry = Path.Combine(cache, "vivarium", ((DebianGuest)GuestCatalog.Find("debian")).CacheEntry);
        _ = Directory.CreateDirectory(Path.GetDirectoryName(entry)!);
        _ = Directory.CreateSymbolicLink(entry, Path.GetDirectoryName(Debian("6.1.").Disk)!);
        return cache;
    }

    private static Lazy<BootSet> Fetch(string name, string package, string? architecture = null) =>
        new(() => new LinuxGuest(name, "", package, architecture).Obtain(s_cache));
}
