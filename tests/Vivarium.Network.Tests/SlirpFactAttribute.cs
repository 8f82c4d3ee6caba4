using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vivarium.Network.Tests;

/// <summary>A test of the user network, skipped where libslirp is not installed.</summary>
internal sealed class SlirpFactAttribute : FactAttribute
{
    public SlirpFactAttribute([CallerFilePath] string? file = null, [CallerLineNumber] int line = 0)
        : base(file, line)
    {
        Skip = SlirpInstallation.WhyNot;
    }
}

/// <summary>Several tests of the user network, skipped where libslirp is not installed.</summary>
internal sealed class SlirpTheoryAttribute : TheoryAttribute
{
    public SlirpTheoryAttribute([CallerFilePath] string? file = null, [CallerLineNumber] int line = 0)
        : base(file, line)
    {
        Skip = SlirpInstallation.WhyNot;
    }
}

internal static class SlirpInstallation
{
    /// <summary>Why tests must be skipped; null if they need not.</summary>
    public static string? WhyNot { get; } =
        NativeLibrary.TryLoad("libslirp.so.0", out _) ? null : "libslirp is not installed (package libslirp0)";
}
