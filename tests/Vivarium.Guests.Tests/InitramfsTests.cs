using System.Diagnostics;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>The initramfs that viv makes, as cpio(1) sees it.</summary>
public sealed class InitramfsTests
{
    [Fact]
    public void It_holds_busybox_a_shell_an_executable_init_and_folders_for_applets()
    {
        var start = new ProcessStartInfo("cpio", ["-itv", "-F", TestGuests.Cloud61.Initrd!]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process cpio = Process.Start(start)!;
        string listing = cpio.StandardOutput.ReadToEnd();
        cpio.WaitForExit();
        Assert.Equal(0, cpio.ExitCode);
        Assert.Matches(@"(?m)^-rwxr-xr-x .* init$", listing);
        Assert.Matches(@"(?m)^-rwxr-xr-x .* bin/busybox$", listing);
        Assert.Matches(@"(?m)^lrwxrwxrwx .* bin/sh -> /bin/busybox$", listing);
        Assert.Matches(@"(?m)^drwxr-xr-x .* proc$", listing);
        Assert.Matches(@"(?m)^drwxr-xr-x .* usr/sbin$", listing);
    }
}
