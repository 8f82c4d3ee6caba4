using System.Buffers.Binary;
using Vivarium.Storage.Host;

namespace Vivarium.Storage;

/// <summary>
/// A disk whose bytes are the file's bytes: one preadv or pwritev straight from and to guest RAM for each request. A file
/// that ends within a sector is a disk that ends with that sector; the missing bytes read as zeroes and are added when they
/// are written.
/// </summary>
internal sealed class RawImage : DiskImage
{
    private readonly HostFile _file;
    private readonly bool _isProbed;

    /// <param name="file">The file, which the image then owns.</param>
    /// <param name="isReadOnly">Whether to refuse writes.</param>
    /// <param name="isProbed">Nobody said that this is raw; it must go on looking so (<see cref="ImageProbe"/>).</param>
    public RawImage(HostFile file, bool isReadOnly, bool isProbed)
        : base(file.Path, isReadOnly)
    {
        _file = file;
        _isProbed = isProbed;
        Length = (file.Length + SectorSize - 1) / SectorSize * SectorSize;
    }

    public override ImageFormat Format => ImageFormat.Raw;

    public override long Length { get; }

    public override void Flush() => _file.Flush();

    /// <summary>Changes the file's size. The image must be opened anew then.</summary>
    /// <exception cref="DiskImageException">It is a device, whose size is what it is.</exception>
    public void Resize(long size)
    {
        if (_file.IsBlockDevice)
        {
            throw new DiskImageException($"{Path} is a device of the host, whose size is not viv's to change");
        }

        _file.SetLength(size);
        _file.Flush();
    }

    internal override bool IsKnownZero(long offset, out long length) => _file.IsHole(offset, Length, out length);

    private protected override void ReadCore(long offset, long length, ReadOnlySpan<IoSegment> segments) => _file.Read(offset, segments);

    private protected override void WriteCore(long offset, long length, ReadOnlySpan<IoSegment> segments)
    {
        if (_isProbed && offset < sizeof(uint))
        {
            RefuseMagic((int)offset, segments);
        }

        _file.Write(offset, segments);
    }

    private protected override void DiscardCore(long offset, long length) => _file.TryPunchHole(offset, length);

    private protected override void WriteZeroesCore(long offset, long length, bool mayUnmap)
    {
        if (!mayUnmap || !_file.TryPunchHole(offset, length))
        {
            _file.WriteZeroes(offset, length);
        }
    }

    private protected override void Dispose(bool disposing) => _file.Dispose();

    private void RefuseMagic(int offset, ReadOnlySpan<IoSegment> segments)
    {
        Span<byte> start = stackalloc byte[sizeof(uint)];
        _file.Read(0, start);
        IoSegment.Gather(segments, 0, start[offset..]);
        if (BinaryPrimitives.ReadUInt32BigEndian(start) == ImageProbe.Qcow2Magic)
        {
            throw new IOException($"{Path} was not said to be raw, so the guest may not write a qcow2 header to its start; give format=raw to let it");
        }
    }
}
