using System.Buffers.Binary;
using System.Text;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A file system device (virtio 1.2, 5.11): FUSE requests of the guest, answered by a backend. What the backend can do at
/// once is done on the thread that brings it, for that takes less time than waking another; what might wait for a disk or a
/// network, on threads of the device.
/// </summary>
public sealed class VirtioFs : VirtioDevice
{
    /// <summary>The tag's length (5.11.4) in bytes, at most.</summary>
    public const int MaxTag = 36;

    // Queues (5.11.2): requests that have no answer, and all others.
    private const ushort HighPriorityQueueSize = 128;

    /// <summary>Requests of 256 pages fit, with headers.</summary>
    private const ushort RequestQueueSize = 1024;
    private const uint RequestQueues = 1;

    // struct virtio_fs_config (5.11.4).
    private const int ConfigLength = MaxTag + sizeof(uint);
    private const int NumRequestQueuesField = MaxTag;

    private readonly IFileSystemBackend _backend;
    private readonly VirtioFsThreads _threads;

    /// <param name="tag">By which the guest finds it: 1 to <see cref="MaxTag"/> bytes in UTF-8.</param>
    public VirtioFs(GuestMemory memory, IFileSystemBackend backend, string tag)
        : base(VirtioDeviceType.FileSystem, 0, memory, ConfigLength, HighPriorityQueueSize, RequestQueueSize)
    {
        _backend = backend;
        _threads = new VirtioFsThreads(ServeLater);
        Encoding.UTF8.GetBytes(tag, Config[..MaxTag]);
        BinaryPrimitives.WriteUInt32LittleEndian(Config[NumRequestQueuesField..], RequestQueues);
    }

    /// <summary>See <see cref="VirtioFsState"/> for what is not in it.</summary>
    public VirtioFsState Save() => new() { Device = SaveCommon() };

    public void Restore(VirtioFsState state)
    {
        StateFormat.Require(state.Version == VirtioFsState.CurrentVersion && state.Device is not null, "virtio file system device");
        RestoreCommon(state.Device!);
    }

    /// <inheritdoc/>
    protected override void Serve(Virtqueue queue, VirtqueueChain chain)
    {
        if (_backend.TryServe(chain.Readable.Span, chain.Writable.Span, mayWait: false, out var written))
            queue.Push(chain, written);
        else
            _threads.Add(queue, chain);
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        // Requests that are under way could make new what is being forgotten.
        Quiesce();
        _backend.Reset();
    }

    /// <inheritdoc/>
    protected override void OnQueueReset(Virtqueue queue)
    {
    }

    private void ServeLater(Virtqueue queue, VirtqueueChain chain)
    {
        _backend.TryServe(chain.Readable.Span, chain.Writable.Span, mayWait: true, out var written);
        queue.Push(chain, written);
        queue.Signal();
    }
}
