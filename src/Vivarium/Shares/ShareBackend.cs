using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Devices;
using Vivarium.Share;

namespace Vivarium.Shares;

/// <summary>A shared folder as a file system device sees it. Both sides describe memory as the host's kernel does, so nothing is copied.</summary>
internal sealed class ShareBackend(FuseServer server) : IFileSystemBackend
{
    static ShareBackend()
    {
        if (Unsafe.SizeOf<Devices.IoSegment>() != Unsafe.SizeOf<Share.IoSegment>())
        {
            throw new InvalidOperationException("devices and shared folders describe memory differently");
        }
    }

    public bool TryServe(ReadOnlySpan<Devices.IoSegment> request, ReadOnlySpan<Devices.IoSegment> answer, bool mayWait, out uint written) =>
        server.TryServe(MemoryMarshal.Cast<Devices.IoSegment, Share.IoSegment>(request), MemoryMarshal.Cast<Devices.IoSegment, Share.IoSegment>(answer), mayWait, out written);

    public void Reset() => server.Reset();
}
