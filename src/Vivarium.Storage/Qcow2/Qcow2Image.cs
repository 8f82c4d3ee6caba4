using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>
/// A disk in a qcow2 file, versions 2 and 3 (QEMU's docs/interop/qcow2.txt).
///
/// Data goes straight between the file and the caller's memory, in runs as long as the clusters lie in a row, without the
/// lock. The lock (<c>_gate</c>) guards the metadata in memory: mapping and refcounts. Their changes reach the file by
/// <see cref="WriteBack"/>, in an order that keeps the file sound at every moment: new refcounts, then (after a barrier) the
/// mapping that needs them, then (after a barrier) the refcounts of what the old mapping no longer uses. A process killed in
/// between leaves at worst clusters that are counted and not used.
/// </summary>
internal sealed unsafe partial class Qcow2Image : DiskImage
{
    private readonly HostFile _file;
    private readonly Qcow2Header _header;
    private readonly DiskImage? _backing;
    private readonly Refcounts? _refcounts;
    private readonly ClusterMap _map;
    private readonly CompressedClusters _compressed;
    private readonly IoEpochs _epochs = new();
    private readonly bool _isVolatile;
    private readonly object _gate = new();
    private readonly Lock _writeBackGate = new();
    private readonly List<FreedRange> _unmapped = [];
    private readonly SliceCopies _copies;

    private Qcow2Image(HostFile file, Qcow2Header header, DiskImage? backing, bool isReadOnly, bool isVolatile)
        : base(file.Path, isReadOnly)
    {
        _file = file;
        _header = header;
        _backing = backing;
        _isVolatile = isVolatile;
        Length = (header.Size + SectorSize - 1) / SectorSize * SectorSize;
        long fileEnd = (file.Length + header.ClusterSize - 1) & -(long)header.ClusterSize;
        _refcounts = isReadOnly ? null : new Refcounts(file, header, fileEnd);
        _map = new ClusterMap(file, header, _refcounts, fileEnd);
        _compressed = new CompressedClusters(file, header.CompressionType, header.ClusterBits);
        _copies = new SliceCopies(_map.Slices.SliceSize);
    }

    public override ImageFormat Format => ImageFormat.Qcow2;

    public override long Length { get; }

    internal Qcow2Header Header => _header;

    internal DiskImage? Backing => _backing;

    private int ClusterBits => _header.ClusterBits;

    private int ClusterSize => _header.ClusterSize;

    /// <summary>Opens a file that the image then owns, and its backing files.</summary>
    /// <exception cref="DiskImageException">The file or one under it is malformed, unsupported or in use.</exception>
    public static Qcow2Image Open(HostFile file, bool isReadOnly, BackingChain chain)
    {
        Qcow2Header header = Qcow2Header.Read(file);
        DiskImage? backing = BackingFile.Open(file.Path, header, chain);
        try
        {
            if (!isReadOnly)
            {
                MakeWritable(file, header);
            }

            return new Qcow2Image(file, header, backing, isReadOnly, isVolatile: false);
        }
        catch
        {
            backing?.Dispose();
            throw;
        }
    }

    /// <summary>An image that nobody else knows yet or ever will: the backing file is given, and nothing is made durable.</summary>
    public static Qcow2Image OpenVolatile(HostFile file, DiskImage? backing) =>
        new(file, Qcow2Header.Read(file), backing, isReadOnly: false, isVolatile: true);

    public override void Flush()
    {
        if (IsReadOnly)
        {
            return;
        }

        if (_isVolatile)
        {
            // No order to keep: what has been given up is free as soon as no transfer uses it.
            lock (_gate)
            {
                _unmapped.AddRange(_refcounts!.TakeFreed());
                DropUnmapped();
            }
        }
        else
        {
            WriteBack();
        }
    }

    internal override bool IsKnownZero(long offset, out long length)
    {
        Extent extent;
        lock (_gate)
        {
            extent = _map.Map(offset, Length - offset);
        }

        length = extent.Length;
        if (extent.Kind != ClusterKind.Unallocated)
        {
            return extent.Kind == ClusterKind.Zero;
        }

        if (_backing is null || offset >= _backing.Length)
        {
            return true;
        }

        bool isZero = _backing.IsKnownZero(offset, out long below);
        length = Math.Min(length, below);
        return isZero;
    }

    private protected override void Dispose(bool disposing)
    {
        try
        {
            if (!IsReadOnly && !_isVolatile)
            {
                Close();
            }
        }
        catch (IOException)
        {
            // Whoever cares has flushed before and knows. What the file has is sound, as after a power failure.
        }
        finally
        {
            _map.Dispose();
            _refcounts?.Dispose();
            _copies.Dispose();
            _file.Dispose();
            _backing?.Dispose();
        }
    }

    /// <summary>Does what must precede the first write: repairs refcounts that were left behind, and says that bitmaps are no longer true.</summary>
    private static void MakeWritable(HostFile file, Qcow2Header header)
    {
        if (header.IsCorrupt)
        {
            throw new DiskImageException($"{file.Path} is marked as corrupt, so it can only be read; repair it with: viv disk check --repair {file.Path}");
        }

        if (header.IsDirty)
        {
            Qcow2Check.RepairDirty(file, header);
        }

        if (header.AutoclearFeatures != 0)
        {
            header.UpdateAutoclearFeatures(file, 0);
            file.Flush();
        }
    }
}
