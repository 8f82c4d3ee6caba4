using System.Runtime.InteropServices;

namespace Vivarium.Network;

/// <summary>
/// What is still to be done to a frame, or was already checked: struct virtio_net_hdr (Virtio 1.2, 5.1.6) without its
/// buffer count, in the byte order of the host, which is little-endian.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public record struct FrameOffload
{
    /// <summary>VIRTIO_NET_HDR_F_NEEDS_CSUM: the checksum from <see cref="ChecksumStart"/> on is only begun.</summary>
    public const byte NeedsChecksum = 1;

    /// <summary>VIRTIO_NET_HDR_F_DATA_VALID: the checksum was verified.</summary>
    public const byte DataValid = 2;

    public const byte GsoNone = 0;
    public const byte GsoTcpV4 = 1;
    public const byte GsoTcpV6 = 4;
    public const byte GsoEcn = 0x80;

    public byte Flags;
    public byte GsoType;

    /// <summary>Length of all headers, a hint only.</summary>
    public ushort HeaderLength;

    /// <summary>Payload bytes in each segment that the frame stands for.</summary>
    public ushort GsoSize;

    /// <summary>Offset in the frame from which the checksum covers.</summary>
    public ushort ChecksumStart;

    /// <summary>Offset of the checksum itself, from <see cref="ChecksumStart"/>.</summary>
    public ushort ChecksumOffset;
}
