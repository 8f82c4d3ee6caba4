using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A block device (virtio 1.2, 5.2). Requests are carried out on the thread that brings them, for a transfer takes less time
/// than waking another; flushes, which wait for the host's disk, on another, so that the guest can go on.
/// </summary>
public sealed unsafe class VirtioBlock : VirtioDevice
{
    /// <summary>The unit of all sector numbers, whatever the block size.</summary>
    public const int SectorSize = 512;

    /// <summary>The device ID string's length (5.2.6).</summary>
    public const int SerialLength = 20;

    public const int MaxQueues = 64;

    private const ushort QueueSize = 256;

    /// <summary>A chain holds this many data segments beside header and status.</summary>
    private const uint SegMax = QueueSize - 2;

    // Feature bits (5.2.3).
    private const ulong FeatureSegMax = 1ul << 2;
    private const ulong FeatureRo = 1ul << 5;
    private const ulong FeatureBlkSize = 1ul << 6;
    private const ulong FeatureFlush = 1ul << 9;
    private const ulong FeatureTopology = 1ul << 10;
    private const ulong FeatureConfigWce = 1ul << 11;
    private const ulong FeatureMq = 1ul << 12;
    private const ulong FeatureDiscard = 1ul << 13;
    private const ulong FeatureWriteZeroes = 1ul << 14;

    // struct virtio_blk_config (5.2.4).
    private const int ConfigLength = 60;
    private const int CapacityField = 0;
    private const int SegMaxField = 12;
    private const int BlkSizeField = 20;
    private const int PhysicalBlockExpField = 24;
    private const int MinIoSizeField = 26;
    private const int WritebackField = 32;
    private const int NumQueuesField = 34;
    private const int MaxDiscardSectorsField = 36;
    private const int MaxDiscardSegField = 40;
    private const int DiscardSectorAlignmentField = 44;
    private const int MaxWriteZeroesSectorsField = 48;
    private const int MaxWriteZeroesSegField = 52;
    private const int WriteZeroesMayUnmapField = 56;

    // struct virtio_blk_req (5.2.6): type, reserved, sector; status at the end.
    private const int HeaderLength = 16;
    private const int SectorField = 8;

    // struct virtio_blk_discard_write_zeroes.
    private const int RangeLength = 16;
    private const int RangeCountField = 8;
    private const int RangeFlagsField = 12;
    private const uint RangeUnmap = 1;

    /// <summary>At most 1 GiB and 16 ranges in a request: a bound for how long one may take.</summary>
    private const uint MaxRangeSectors = 1 << 21;
    private const uint MaxRanges = 16;

    private enum RequestType : uint
    {
        In = 0,
        Out = 1,
        Flush = 4,
        GetId = 8,
        Discard = 11,
        WriteZeroes = 13,
    }

    private enum RequestStatus : byte
    {
        Ok = 0,
        IoErr = 1,
        Unsupp = 2,
    }

    private readonly IBlockBackend _backend;
    private readonly byte[] _serial = new byte[SerialLength];
    private readonly uint _blockSize;
    private volatile bool _writeThrough;

    /// <param name="serial">What the guest sees as the disk's serial number: ASCII, cut at 20 characters.</param>
    /// <param name="queues">Request queues, 1 to <see cref="MaxQueues"/>: one per vCPU is best.</param>
    public VirtioBlock(GuestMemory memory, IBlockBackend backend, string serial = "", int queues = 1)
        : base(VirtioDeviceType.Block, DeviceFeatures(backend, queues), memory, ConfigLength, QueueSizes(queues))
    {
        _backend = backend;
        _blockSize = backend.LogicalBlockSize;
        var text = serial.Length > SerialLength ? serial[..SerialLength] : serial;
        Encoding.ASCII.GetBytes(text, _serial);
        FillConfig(queues);
    }

    /// <summary>
    /// A request has failed on the host; the guest gets an I/O error, the user may be told why. On the thread of
    /// the request, without any lock.
    /// </summary>
    public Action<string>? Failed { get; set; }

    private ulong Sectors => _backend.Length / SectorSize;

    /// <summary>The disk's size has changed: tells the driver.</summary>
    public void CapacityChanged()
    {
        lock (Lock)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(Config[CapacityField..], Sectors);
            ConfigChanged();
        }
    }

    public VirtioBlockState Save() => new() { Device = SaveCommon(), Writeback = Config[WritebackField] != 0 };

    public void Restore(VirtioBlockState state)
    {
        StateFormat.Require(state.Version == VirtioBlockState.CurrentVersion && state.Device is not null, "virtio block device");
        RestoreCommon(state.Device!);
        lock (Lock)
        {
            Config[WritebackField] = (byte)(state.Writeback ? 1 : 0);
            ChooseCaching();
        }
    }

    /// <inheritdoc/>
    protected override void Serve(Virtqueue queue, VirtqueueChain chain)
    {
        Span<byte> header = stackalloc byte[HeaderLength];
        var status = chain.Readable.TryRead(header) ? chain.Writable.TakeLastByte() : null;
        if (status == null)
        {
            NeedReset("a block request has no header or no status");
            queue.Push(chain, 0);
            return;
        }

        var type = (RequestType)BinaryPrimitives.ReadUInt32LittleEndian(header);
        if (type == RequestType.Flush)
        {
            FlushLater(queue, chain, status);
            return;
        }

        var sector = BinaryPrimitives.ReadUInt64LittleEndian(header[SectorField..]);
        *status = (byte)Execute(type, sector, chain);
        queue.Push(chain, (uint)chain.WritableCapacity);
    }

    /// <inheritdoc/>
    protected override void OnFeatures() => ChooseCaching();

    /// <inheritdoc/>
    protected override void OnReset()
    {
        lock (Lock)
            Config[WritebackField] = 1;
    }

    /// <inheritdoc/>
    protected override void OnQueueReset(Virtqueue queue)
    {
    }

    /// <inheritdoc/>
    protected override void OnConfigWrite(int offset, ReadOnlySpan<byte> value)
    {
        if (offset != WritebackField || !Has(FeatureConfigWce))
            return;
        Config[WritebackField] = (byte)(value[0] != 0 ? 1 : 0);
        ChooseCaching();
    }

    private static ulong DeviceFeatures(IBlockBackend backend, int queues) =>
        FeatureSegMax | FeatureBlkSize | FeatureFlush | FeatureTopology | FeatureConfigWce
        | (backend.ReadOnly ? FeatureRo : 0)
        | (queues > 1 ? FeatureMq : 0)
        | (backend is { CanDiscard: true, ReadOnly: false } ? FeatureDiscard : 0)
        | (backend is { CanWriteZeroes: true, ReadOnly: false } ? FeatureWriteZeroes : 0);

    private static ushort[] QueueSizes(int queues)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(queues);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(queues, MaxQueues);
        var sizes = new ushort[queues];
        Array.Fill(sizes, QueueSize);
        return sizes;
    }

    private void FillConfig(int queues)
    {
        var config = Config;
        var blockSectors = _blockSize / SectorSize;
        BinaryPrimitives.WriteUInt64LittleEndian(config[CapacityField..], Sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(config[SegMaxField..], SegMax);
        BinaryPrimitives.WriteUInt32LittleEndian(config[BlkSizeField..], _blockSize);
        config[PhysicalBlockExpField] = (byte)BitOperations.Log2(Math.Max(1, _backend.PhysicalBlockSize / _blockSize));
        BinaryPrimitives.WriteUInt16LittleEndian(config[MinIoSizeField..], (ushort)Math.Max(1, _backend.PhysicalBlockSize / _blockSize));
        config[WritebackField] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(config[NumQueuesField..], (ushort)queues);
        BinaryPrimitives.WriteUInt32LittleEndian(config[MaxDiscardSectorsField..], MaxRangeSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(config[MaxDiscardSegField..], MaxRanges);
        BinaryPrimitives.WriteUInt32LittleEndian(config[DiscardSectorAlignmentField..], blockSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(config[MaxWriteZeroesSectorsField..], MaxRangeSectors);
        BinaryPrimitives.WriteUInt32LittleEndian(config[MaxWriteZeroesSegField..], MaxRanges);
        config[WriteZeroesMayUnmapField] = 1;
    }

    /// <summary>A driver that cannot flush gets a cache that needs none (5.2.5.2).</summary>
    private void ChooseCaching() =>
        _writeThrough = Has(FeatureConfigWce) ? Config[WritebackField] == 0 : !Has(FeatureFlush);

    private RequestStatus Execute(RequestType type, ulong sector, VirtqueueChain chain)
    {
        try
        {
            switch (type)
            {
                case RequestType.In:
                    return Read(sector, chain.Writable);
                case RequestType.Out:
                    return Write(sector, chain.Readable);
                case RequestType.GetId:
                    chain.Writable.TryWrite(_serial.AsSpan(0, (int)Math.Min(SerialLength, chain.Writable.Length)));
                    return RequestStatus.Ok;
                case RequestType.Discard when Has(FeatureDiscard):
                    return ForEachRange(chain, zero: false);
                case RequestType.WriteZeroes when Has(FeatureWriteZeroes):
                    return ForEachRange(chain, zero: true);
                default:
                    return RequestStatus.Unsupp;
            }
        }
        catch (Exception e)
        {
            // Whatever the backend's trouble is, it is not the monitor's.
            Failed?.Invoke(e.Message);
            return RequestStatus.IoErr;
        }
    }

    private RequestStatus Read(ulong sector, in IoSegments data)
    {
        if (!IsInside(sector, data.Length))
            return RequestStatus.IoErr;
        if (data.Length != 0)
            _backend.Read(sector * SectorSize, data.Span);
        return RequestStatus.Ok;
    }

    private RequestStatus Write(ulong sector, in IoSegments data)
    {
        if (_backend.ReadOnly || !IsInside(sector, data.Length))
            return RequestStatus.IoErr;
        if (data.Length == 0)
            return RequestStatus.Ok;
        _backend.Write(sector * SectorSize, data.Span);
        if (_writeThrough)
            _backend.Flush();
        return RequestStatus.Ok;
    }

    private RequestStatus ForEachRange(VirtqueueChain chain, bool zero)
    {
        // All are checked before the first is touched.
        Span<byte> ranges = stackalloc byte[(int)MaxRanges * RangeLength];
        var length = chain.Readable.Length;
        if (length == 0 || length > (ulong)ranges.Length || length % RangeLength != 0)
            return RequestStatus.Unsupp;
        ranges = ranges[..(int)length];
        chain.Readable.TryRead(ranges);
        for (var i = 0; i < ranges.Length; i += RangeLength)
        {
            var flags = BinaryPrimitives.ReadUInt32LittleEndian(ranges[(i + RangeFlagsField)..]);
            if ((flags & ~(zero ? RangeUnmap : 0)) != 0)
                return RequestStatus.Unsupp;
            var sectors = BinaryPrimitives.ReadUInt32LittleEndian(ranges[(i + RangeCountField)..]);
            var sector = BinaryPrimitives.ReadUInt64LittleEndian(ranges[i..]);
            if (sectors > MaxRangeSectors || !IsInside(sector, (ulong)sectors * SectorSize))
                return RequestStatus.IoErr;
        }

        for (var i = 0; i < ranges.Length; i += RangeLength)
        {
            var offset = BinaryPrimitives.ReadUInt64LittleEndian(ranges[i..]) * SectorSize;
            var bytes = (ulong)BinaryPrimitives.ReadUInt32LittleEndian(ranges[(i + RangeCountField)..]) * SectorSize;
            if (bytes == 0)
                continue;
            if (zero)
                _backend.WriteZeroes(offset, bytes, (BinaryPrimitives.ReadUInt32LittleEndian(ranges[(i + RangeFlagsField)..]) & RangeUnmap) != 0);
            else
                _backend.Discard(offset, bytes);
        }

        if (_writeThrough)
            _backend.Flush();
        return RequestStatus.Ok;
    }

    private void FlushLater(Virtqueue queue, VirtqueueChain chain, byte* status) =>
        ThreadPool.UnsafeQueueUserWorkItem(
            static work =>
            {
                *(byte*)work.Status = (byte)work.Device.Flush();
                work.Queue.Push(work.Chain, (uint)work.Chain.WritableCapacity);
                work.Queue.Signal();
            },
            (Device: this, Queue: queue, Chain: chain, Status: (nint)status),
            preferLocal: false);

    private RequestStatus Flush()
    {
        try
        {
            _backend.Flush();
            return RequestStatus.Ok;
        }
        catch (Exception e)
        {
            Failed?.Invoke(e.Message);
            return RequestStatus.IoErr;
        }
    }

    /// <summary>Whole blocks inside the disk.</summary>
    private bool IsInside(ulong sector, ulong length)
    {
        var sectors = Sectors;
        return sector <= sectors && length % _blockSize == 0 && sector % (_blockSize / SectorSize) == 0
            && length / SectorSize <= sectors - sector;
    }
}
