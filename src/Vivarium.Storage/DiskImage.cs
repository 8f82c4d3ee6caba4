using Vivarium.Storage.Host;
using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage;

/// <summary>
/// A virtual disk: bytes 0 to <see cref="Length"/> that can be read, written, given back and made durable. All members may
/// be called from several threads at once; requests that overlap in time have no order among themselves. Host errors come
/// as <see cref="IOException"/> with a sentence about the file and the cause; the image stays usable after one. Dispose only
/// when no request is running.
/// </summary>
public abstract unsafe class DiskImage : IDisposable
{
    /// <summary>Disks are made of sectors of this many bytes; <see cref="Length"/> is a multiple.</summary>
    public const int SectorSize = 512;

    private protected DiskImage(string path, bool isReadOnly)
    {
        Path = path;
        IsReadOnly = isReadOnly;
    }

    /// <summary>The file, as it was named.</summary>
    public string Path { get; }

    public abstract ImageFormat Format { get; }

    /// <summary>The size of the disk in bytes.</summary>
    public abstract long Length { get; }

    public bool IsReadOnly { get; }

    /// <summary>Opens an image and locks it: against everybody for writing, against writers for reading.</summary>
    /// <exception cref="DiskImageException">The image is missing, malformed, unsupported or in use; no permission.</exception>
    /// <exception cref="IOException">The host fails.</exception>
    public static DiskImage Open(string path, DiskImageOptions? options = null)
    {
        options ??= new DiskImageOptions();
        if (!options.Overlay)
        {
            return OpenFile(path, options.Format, options.ReadOnly, new BackingChain());
        }

        DiskImage backing = OpenFile(path, options.Format, readOnly: true, new BackingChain());
        try
        {
            return OverlayImage.Create(backing, options.OverlayFolder);
        }
        catch
        {
            backing.Dispose();
            throw;
        }
    }

    /// <summary>Reads the bytes from <paramref name="offset"/> on into the segments, all of them.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves the disk.</exception>
    /// <exception cref="IOException">The host fails, or the image is malformed there.</exception>
    public void Read(long offset, ReadOnlySpan<IoSegment> segments)
    {
        long length = IoSegment.Sum(segments);
        CheckRange(offset, length);
        if (length > 0)
        {
            ReadCore(offset, length, segments);
        }
    }

    /// <summary>Reads the bytes from <paramref name="offset"/> on into a buffer.</summary>
    /// <inheritdoc cref="Read(long, ReadOnlySpan{IoSegment})"/>
    public void Read(long offset, Span<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            Read(offset, [new IoSegment(pointer, (nuint)buffer.Length)]);
        }
    }

    /// <summary>Writes the segments to <paramref name="offset"/>. Durable after the next <see cref="Flush"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves the disk.</exception>
    /// <exception cref="IOException">The host fails (a full disk), or the image is read-only. What was there before, in this range, may remain.</exception>
    public void Write(long offset, ReadOnlySpan<IoSegment> segments)
    {
        long length = IoSegment.Sum(segments);
        CheckRange(offset, length);
        CheckWritable();
        if (length > 0)
        {
            WriteCore(offset, length, segments);
        }
    }

    /// <summary>Writes a buffer to <paramref name="offset"/>.</summary>
    /// <inheritdoc cref="Write(long, ReadOnlySpan{IoSegment})"/>
    public void Write(long offset, ReadOnlySpan<byte> buffer)
    {
        fixed (byte* pointer = buffer)
        {
            Write(offset, [new IoSegment(pointer, (nuint)buffer.Length)]);
        }
    }

    /// <summary>
    /// Returns when every write that had returned before is on the host's disk, metadata included. A throw-away overlay has
    /// nothing to keep and returns at once.
    /// </summary>
    /// <exception cref="IOException">The host cannot make it durable.</exception>
    public abstract void Flush();

    /// <summary>Says that the range's content is no longer wanted. A hint: it then reads as before, or as zeroes.</summary>
    /// <inheritdoc cref="Write(long, ReadOnlySpan{IoSegment})"/>
    public void Discard(long offset, long length)
    {
        CheckRange(offset, length);
        CheckWritable();
        if (length > 0)
        {
            DiscardCore(offset, length);
        }
    }

    /// <summary>Makes the range read as zeroes; with <paramref name="mayUnmap"/>, its space may go back to the host.</summary>
    /// <inheritdoc cref="Write(long, ReadOnlySpan{IoSegment})"/>
    public void WriteZeroes(long offset, long length, bool mayUnmap)
    {
        CheckRange(offset, length);
        CheckWritable();
        if (length > 0)
        {
            WriteZeroesCore(offset, length, mayUnmap);
        }
    }

    /// <summary>
    /// Whether the bytes from <paramref name="offset"/> on are known to be zeroes without reading them, and for how many
    /// bytes the answer holds. Data that happens to be all zero is not found.
    /// </summary>
    /// <exception cref="IOException">The host fails, or the image is malformed there.</exception>
    internal abstract bool IsKnownZero(long offset, out long length);

    /// <summary>Releases the file and its lock. Everything written is in the file before, as far as the host lets it.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    internal static DiskImage OpenFile(string path, ImageFormat? format, bool readOnly, BackingChain chain)
    {
        HostFile file = HostFile.Open(path, readOnly);
        try
        {
            chain.Enter(file);
            file.Lock(exclusive: !readOnly);
            return (format ?? ImageProbe.Detect(file)) == ImageFormat.Qcow2
                ? Qcow2Image.Open(file, readOnly, chain)
                : new RawImage(file, readOnly, isProbed: format is null);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private protected abstract void ReadCore(long offset, long length, ReadOnlySpan<IoSegment> segments);

    private protected abstract void WriteCore(long offset, long length, ReadOnlySpan<IoSegment> segments);

    private protected abstract void DiscardCore(long offset, long length);

    private protected abstract void WriteZeroesCore(long offset, long length, bool mayUnmap);

    private protected abstract void Dispose(bool disposing);

    private void CheckRange(long offset, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (offset > Length - length)
        {
            throw new ArgumentOutOfRangeException(nameof(offset), $"bytes {offset} to {offset + (Int128)length} leave the disk of {Length} bytes");
        }
    }

    private void CheckWritable()
    {
        if (IsReadOnly)
        {
            throw new IOException($"{Path} is open for reading only");
        }
    }
}
