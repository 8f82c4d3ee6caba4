using Vivarium.Storage.Host;
using Vivarium.Storage.Qcow2;

namespace Vivarium.Storage.Tools;

public static partial class DiskTool
{
    /// <summary>What is read at once; a multiple of every cluster size.</summary>
    private const int ConvertChunk = 2 << 20;

    /// <summary>Zeroes of this length and alignment become holes.</summary>
    private const int SparseUnit = 4096;

    /// <summary>
    /// Copies a disk, with what its backing files have, into a new image that stands on its own; zeroes take no space. The
    /// new file appears when it is complete and on the host's disk, or not at all, however this ends.
    /// </summary>
    /// <param name="source">The image to read.</param>
    /// <param name="target">The file to make.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told the bytes of the disk that are done, and their sum.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="DiskImageException">The source cannot be used, the target exists, or the options make no sense.</exception>
    /// <exception cref="IOException">The host fails.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void Convert(string source, string target, ConvertOptions options, Action<long, long>? progress = null, CancellationToken cancellation = default)
    {
        CheckClusterSize(options.ClusterSize);
        if (options.Compress && options.Format == ImageFormat.Raw)
        {
            throw new DiskImageException("a raw disk cannot be compressed; use format qcow2");
        }

        RefuseExisting(target);
        using DiskImage from = DiskImage.Open(source, new DiskImageOptions { Format = options.SourceFormat, ReadOnly = true });
        using HostFile file = NewFile(target);
        var create = new CreateOptions
        {
            Format = options.Format,
            ClusterSize = options.ClusterSize,
            LazyRefcounts = options.LazyRefcounts,
            CompressionType = options.CompressionType,
        };
        MakeEmpty(file, create, from.Length, backingName: null, backingFormat: null);
        using DiskImage to = options.Format == ImageFormat.Raw
            ? new RawImage(file, isReadOnly: false, isProbed: false)
            : Qcow2Image.OpenVolatile(file, backing: null);
        if (to is Qcow2Image compressed && options.Compress)
        {
            CopyCompressed(from, compressed, options, progress, cancellation);
        }
        else
        {
            Copy(from, to, options.Format == ImageFormat.Raw ? SparseUnit : Math.Max(SparseUnit, options.ClusterSize), progress, cancellation);
        }

        (to as Qcow2Image)?.Complete();
        file.Publish(target);
    }

    private static void Copy(DiskImage from, DiskImage to, int unit, Action<long, long>? progress, CancellationToken cancellation)
    {
        byte[] buffer = GC.AllocateUninitializedArray<byte>(ConvertChunk);
        ForEachChunk(from, progress, cancellation, (offset, length) =>
        {
            Span<byte> chunk = buffer.AsSpan(0, length);
            from.Read(offset, chunk);
            for (int at = 0; at < length;)
            {
                int run = RunOfData(chunk[at..], unit, out int zeroes);
                if (run > 0)
                {
                    to.Write(offset + at + zeroes, chunk.Slice(at + zeroes, run));
                }

                at += zeroes + run;
            }
        });
    }

    private static void CopyCompressed(DiskImage from, Qcow2Image to, ConvertOptions options, Action<long, long>? progress, CancellationToken cancellation)
    {
        int clusterSize = options.ClusterSize;
        byte[] buffer = new byte[ConvertChunk];
        var packed = new byte[ConvertChunk / clusterSize][];
        ForEachChunk(from, progress, cancellation, (offset, length) =>
        {
            from.Read(offset, buffer.AsSpan(0, length));
            buffer.AsSpan(length).Clear();
            int clusters = (length + clusterSize - 1) / clusterSize;
            Parallel.For(
                0,
                clusters,
                () => new ClusterCompressor(options.CompressionType),
                (i, _, compressor) =>
                {
                    ReadOnlySpan<byte> cluster = buffer.AsSpan(i * clusterSize, clusterSize);
                    packed[i] = cluster.ContainsAnyExcept((byte)0) ? compressor.Compress(cluster) : null!;
                    return compressor;
                },
                compressor => compressor.Dispose());
            for (int i = 0; i < clusters; i++)
            {
                long at = offset + ((long)i * clusterSize);
                if (packed[i] is { Length: > 0 } data)
                {
                    to.WriteCompressed(at, data);
                }
                else if (packed[i] is not null)
                {
                    to.Write(at, buffer.AsSpan(i * clusterSize, (int)Math.Min(clusterSize, to.Length - at)));
                }
            }
        });
    }

    /// <summary>Calls for every aligned piece of the disk that is not known to be zero.</summary>
    private static void ForEachChunk(DiskImage from, Action<long, long>? progress, CancellationToken cancellation, Action<long, int> action)
    {
        for (long offset = 0; offset < from.Length;)
        {
            cancellation.ThrowIfCancellationRequested();
            bool isZero = from.IsKnownZero(offset, out long same);
            long whole = offset + same == from.Length ? same : same & -ConvertChunk;
            if (isZero && whole > 0)
            {
                offset += whole;
            }
            else
            {
                int length = (int)Math.Min(ConvertChunk, from.Length - offset);
                action(offset, length);
                offset += length;
            }

            progress?.Invoke(offset, from.Length);
        }
    }

    /// <summary>The length of the first run of units that are not all zero, and of the zeroes before it.</summary>
    private static int RunOfData(ReadOnlySpan<byte> bytes, int unit, out int zeroes)
    {
        zeroes = 0;
        while (zeroes < bytes.Length && !UnitAt(bytes, zeroes, unit).ContainsAnyExcept((byte)0))
        {
            zeroes += UnitAt(bytes, zeroes, unit).Length;
        }

        int end = zeroes;
        while (end < bytes.Length && UnitAt(bytes, end, unit).ContainsAnyExcept((byte)0))
        {
            end += UnitAt(bytes, end, unit).Length;
        }

        return end - zeroes;
    }

    private static ReadOnlySpan<byte> UnitAt(ReadOnlySpan<byte> bytes, int at, int unit) => bytes.Slice(at, Math.Min(unit, bytes.Length - at));
}
