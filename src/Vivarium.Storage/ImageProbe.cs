using Vivarium.Storage.Host;

namespace Vivarium.Storage;

/// <summary>
/// Tells an image's format from its content, for users who do not say it.
///
/// A raw disk's first bytes belong to its guest, so probing trusts the guest: a guest that writes a qcow2 header with a
/// backing file of its choice into its raw disk would, at the next start, be shown that file of the host. Three rules keep
/// this shut. Only qcow2's magic is looked for. A raw image that was found by probing refuses the write that would give it
/// that magic (<see cref="RawImage"/>). And a backing file whose format is not recorded may be probed as qcow2 only if it
/// names no further file. Whoever gives an image as raw once must go on to do so: say the format.
/// </summary>
public static class ImageProbe
{
    /// <summary>"QFI" and 0xFB, big-endian, as a qcow2 file begins.</summary>
    internal const uint Qcow2Magic = 0x514649FB;

    /// <summary>The format by content: qcow2 by its magic, else raw.</summary>
    /// <exception cref="DiskImageException">There is no such file, or it may not be read.</exception>
    /// <exception cref="IOException">The host cannot read it.</exception>
    public static ImageFormat Detect(string path)
    {
        using HostFile file = HostFile.Open(path, readOnly: true);
        return Detect(file);
    }

    /// <summary>The format that a user names.</summary>
    /// <exception cref="DiskImageException">No such format.</exception>
    public static ImageFormat Parse(string name) => name switch
    {
        "raw" => ImageFormat.Raw,
        "qcow2" => ImageFormat.Qcow2,
        _ => throw new DiskImageException($"'{name}' is no disk format that viv knows; use raw or qcow2"),
    };

    internal static ImageFormat Detect(HostFile file)
    {
        Span<byte> start = stackalloc byte[sizeof(uint)];
        file.Read(0, start);
        return System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(start) == Qcow2Magic ? ImageFormat.Qcow2 : ImageFormat.Raw;
    }
}
