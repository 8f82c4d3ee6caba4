using System.Diagnostics;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>The initramfs that viv makes, as cpio(1) sees it.</summary>
public sealed class InitramfsTests
{
    [Fact]
    public void It_holds_busybox_its_applets_and_an_executable_init()
    {
        var start = new ProcessStartInfo("cpio", ["-itv", "-F", TestGuests.Cloud61.Initrd!]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process cpio = Process.Start(start)!;
        string listing = cpio.StandardOutput.ReadToEnd();
        cpio.WaitForExit();
        Assert.Equal(0, cpio.ExitCode);
        Assert.Matches(@"(?m)^-rwxr-xr-x .* init$", listing);
        Assert.Matches(@"(?m)^-rwxr-xr-x .* bin/busybox$", listing);
        Assert.Matches(@"(?m)^lrwxrwxrwx .* bin/sh -> /bin/busybox$", listing);
        Assert.Matches(@"(?m)^lrwxrwxrwx .* sbin/poweroff -> /bin/busybox$", listing);
        Assert.True(listing.Split('\n').Count(line => line.Contains("-> /bin/busybox", StringComparison.Ordinal)) > 200);
        Assert.Matches(@"(?m)^drwxr-xr-x .* proc$", listing);
    }
}
