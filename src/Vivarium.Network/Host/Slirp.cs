using System.Runtime.InteropServices;

namespace Vivarium.Network.Host;

/// <summary>
/// The functions of libslirp (slirp/libslirp.h), found at run time: the library is a package of the distribution that only
/// user networks need. Version 1 of the configuration suffices, so any libslirp since 4.1 does.
/// </summary>
internal sealed unsafe class Slirp
{
    public const string LibraryName = "libslirp.so.0";
    public const string PackageName = "libslirp0";

    public const int PollIn = 1;
    public const int PollOut = 2;
    public const int PollPriority = 4;
    public const int PollError = 8;
    public const int PollHangUp = 16;

    /// <summary>IF_MTU_MAX: the largest packet that it can be made to send.</summary>
    public const int MaximumMtu = 65520;

    public readonly delegate* unmanaged<SlirpConfig*, SlirpCallbacks*, nint, nint> New;
    public readonly delegate* unmanaged<nint, void> Cleanup;
    public readonly delegate* unmanaged<nint, uint*, delegate* unmanaged<int, int, nint, int>, nint, void> PollfdsFill;
    public readonly delegate* unmanaged<nint, int, delegate* unmanaged<int, nint, int>, nint, void> PollfdsPoll;
    public readonly delegate* unmanaged<nint, byte*, int, void> Input;
    public readonly delegate* unmanaged<nint, int, uint, int, uint, int, int> AddHostForward;
    public readonly delegate* unmanaged<nint, int, uint, int, int> RemoveHostForward;

    private static readonly Lazy<Slirp> Shared = new(() => new Slirp());

    private Slirp()
    {
        if (!NativeLibrary.TryLoad(LibraryName, out var library))
            throw new NetworkException(
                $"User networking needs libslirp, which is not installed; install the package '{PackageName}' or use '--net none'.");
        New = (delegate* unmanaged<SlirpConfig*, SlirpCallbacks*, nint, nint>)Export(library, "slirp_new");
        Cleanup = (delegate* unmanaged<nint, void>)Export(library, "slirp_cleanup");
        PollfdsFill = (delegate* unmanaged<nint, uint*, delegate* unmanaged<int, int, nint, int>, nint, void>)Export(library, "slirp_pollfds_fill");
        PollfdsPoll = (delegate* unmanaged<nint, int, delegate* unmanaged<int, nint, int>, nint, void>)Export(library, "slirp_pollfds_poll");
        Input = (delegate* unmanaged<nint, byte*, int, void>)Export(library, "slirp_input");
        AddHostForward = (delegate* unmanaged<nint, int, uint, int, uint, int, int>)Export(library, "slirp_add_hostfwd");
        RemoveHostForward = (delegate* unmanaged<nint, int, uint, int, int>)Export(library, "slirp_remove_hostfwd");
    }

    /// <exception cref="NetworkException">The library is not installed, or too old.</exception>
    public static Slirp Load() => Shared.Value;

    private static nint Export(nint library, string name) => NativeLibrary.TryGetExport(library, name, out var address)
        ? address
        : throw new NetworkException($"{LibraryName} has no '{name}'; install version 4.1 or later of the package '{PackageName}'.");
}
