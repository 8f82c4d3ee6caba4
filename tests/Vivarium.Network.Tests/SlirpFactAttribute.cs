using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vivarium.Network.Tests;

/// <summary>A test of the user network, skipped where libslirp is not installed.</summary>
internal sealed class SlirpFactAttribute : FactAttribute
{
    public SlirpFactAttribute([CallerFilePath] string? file = null, [CallerLineNumber] int line = 0)
        : base(file, line)
    {
        if (NativeLibrary.TryLoad("libslirp.so.0", out _))
            return;
        Skip = "libslirp is not installed (package libslirp0)";
    }
}
