using System.Runtime.InteropServices;

namespace Vivarium.Devices;

/// <summary>What a packet is for (virtio 1.2, 5.10.6).</summary>
internal enum VsockOperation : ushort
{
    Invalid = 0,
    Request = 1,
    Response = 2,
    Rst = 3,
    Shutdown = 4,
    Rw = 5,
    CreditUpdate = 6,
    CreditRequest = 7,
}

/// <summary>The flags of a shutdown (virtio 1.2, 5.10.6.6.1): what its sender will not do any more.</summary>
[Flags]
internal enum VsockShutdown : uint
{
    None = 0,
    Receive = 1,
    Send = 2,
    Both = Receive | Send,
}

/// <summary>struct virtio_vsock_hdr (virtio 1.2, 5.10.6).</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct VsockHeader
{
    public const int Size = 44;

    /// <summary>VIRTIO_VSOCK_TYPE_STREAM.</summary>
    public const ushort TypeStream = 1;

    public ulong SourceCid;
    public ulong DestinationCid;
    public uint SourcePort;
    public uint DestinationPort;

    /// <summary>Bytes of data that follow.</summary>
    public uint Length;

    public ushort Type;
    public VsockOperation Operation;
    public VsockShutdown Flags;

    /// <summary>buf_alloc: how much the sender of this packet buffers for this connection, in bytes.</summary>
    public uint BufferAllocation;

    /// <summary>fwd_cnt: how much it has taken out of that buffer since the connection's beginning, in bytes, modulo 2^32.</summary>
    public uint ForwardCount;
}
