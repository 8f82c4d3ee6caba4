using Vivarium.Devices;

namespace Vivarium;

/// <summary>
/// A socket device (virtio-vsock). Programs of the host connect to the Unix socket at <see cref="Path"/>, write
/// <c>CONNECT port</c> and a line feed, and read <c>OK hostport</c> once a program of the guest has accepted. A program of the
/// guest that connects to port N of the host (CID 2) reaches whoever listens on the Unix socket PATH_N.
/// </summary>
public sealed record VsockSpec
{
    /// <summary>The Unix socket to make; one that a dead process has left is replaced.</summary>
    public required string Path { get; init; }

    /// <summary>The guest's context identifier, 3 to 4294967294.</summary>
    public uint Cid { get; init; } = VirtioVsock.DefaultGuestCid;

    internal void Validate()
    {
        if (Cid is < VirtioVsock.FirstGuestCid or > VirtioVsock.LastGuestCid)
        {
            throw new InvalidInputException($"the CID of a guest is a number from {VirtioVsock.FirstGuestCid} to {VirtioVsock.LastGuestCid}, not {Cid}");
        }

        if (Path.Length == 0)
        {
            throw new InvalidInputException("a vsock needs the path of a Unix socket on this host; write for example --vsock /tmp/guest.vsock");
        }
    }
}
