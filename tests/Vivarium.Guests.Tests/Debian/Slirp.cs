using System.Runtime.InteropServices;
using Xunit;

namespace Vivarium.Guests.Tests.Debian;

/// <summary>The library behind the user network.</summary>
internal static class Slirp
{
    public static void Need() =>
        Assert.SkipUnless(NativeLibrary.TryLoad("libslirp.so.0", out _), "libslirp is not installed (package libslirp0)");
}
