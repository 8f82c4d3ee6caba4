using System.Text.RegularExpressions;

namespace Vivarium.Firmware.Tests;

/// <summary>Debian's kernels, byte for byte, kept between test runs.</summary>
internal static partial class TestGuests
{
    private static readonly string Cache = Path.Combine(
        Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache/vivarium/test-guests");

    private static readonly Lock Gate = new();

    /// <summary>The kernel that the package depends on, fetched if need be; the test is skipped if it cannot be had.</summary>
    public static string Cloud()
    {
        lock (Gate)
        {
            return Find("-cloud-amd64") ?? Fetch("linux-image-cloud-amd64");
        }
    }

    /// <summary>A kernel of the i386 architecture, which an amd64 system does not fetch by itself.</summary>
    public static string I386()
    {
        string? kernel = Find("-686-pae");
        Assert.SkipWhen(kernel is null, $"no linux-image-*-686-pae is unpacked in {Cache}");
        return kernel!;
    }

    private static string? Find(string flavour) => Directory.Exists(Cache)
        ? Directory.EnumerateFiles(Cache, $"vmlinuz-*{flavour}", SearchOption.AllDirectories).FirstOrDefault()
        : null;

    private static string Fetch(string package)
    {
        Tool.Require("apt-get", "apt");
        Tool.Require("dpkg-deb", "dpkg");
        Directory.CreateDirectory(Cache);
        (_, string depends) = Tool.Run("apt-cache", Cache, null, "depends", package);
        Match match = ImageDependency().Match(depends);
        Assert.SkipUnless(match.Success, $"apt-cache does not know {package}; run apt-get update");
        string image = match.Groups[1].Value;

        (int status, string output) = Tool.Run("apt-get", Cache, null, "download", image);
        Assert.SkipUnless(status == 0, $"apt-get download {image} failed: {output.Trim()}");
        string archive = Directory.EnumerateFiles(Cache, $"{image}_*.deb").First();
        (status, output) = Tool.Run("dpkg-deb", Cache, null, "-x", archive, image);
        Assert.SkipUnless(status == 0, $"dpkg-deb -x failed: {output.Trim()}");
        return Find(image["linux-image-".Length..])!;
    }

    [GeneratedRegex(@"Depends: (linux-image-\S+)")]
    private static partial Regex ImageDependency();
}
