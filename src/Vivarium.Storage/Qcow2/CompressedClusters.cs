using System.Buffers;
using System.IO.Compression;
using Vivarium.Storage.Host;
using ZstdSharp.Unsafe;

namespace Vivarium.Storage.Qcow2;

/// <summary>
/// Compressed clusters, decompressed: the last few are kept, since guests read them in smaller pieces and one after another.
/// Thread-safe.
/// </summary>
internal sealed unsafe class CompressedClusters(HostFile file, CompressionType type, int clusterBits)
{
    private const int MaxKept = 16;
    private const int MaxKeptBytes = 8 << 20;

    private readonly Lock _gate = new();
    private readonly Kept[] _kept = new Kept[Math.Clamp(MaxKeptBytes >> clusterBits, 2, MaxKept)];
    private int _next;

    /// <summary>Copies a part of the cluster.</summary>
    /// <param name="entry">Its L2 entry.</param>
    /// <param name="inCluster">Where the part begins.</param>
    /// <param name="target">What takes it.</param>
    /// <exception cref="IOException">The host fails, or the data cannot be decompressed.</exception>
    public void Read(ulong entry, int inCluster, Span<byte> target)
    {
        lock (_gate)
        {
            Get(entry).AsSpan(inCluster, target.Length).CopyTo(target);
        }
    }

    /// <summary>Copies a part of the cluster into the segments from their byte <paramref name="skip"/> on.</summary>
    /// <inheritdoc cref="Read(ulong, int, Span{byte})"/>
    public void Read(ulong entry, int inCluster, int length, ReadOnlySpan<IoSegment> segments, long skip)
    {
        lock (_gate)
        {
            IoSegment.Scatter(Get(entry).AsSpan(inCluster, length), segments, skip);
        }
    }

    private byte[] Get(ulong entry)
    {
        foreach (ref readonly Kept kept in _kept.AsSpan())
        {
            if (kept.Data is not null && kept.Entry == entry)
            {
                return kept.Data;
            }
        }

        ref Kept place = ref _kept[_next];
        _next = (_next + 1) % _kept.Length;
        byte[] data = place.Data ?? new byte[1 << clusterBits];
        place.Data = null;
        Decompress(entry, data);
        place = new Kept { Entry = entry, Data = data };
        return data;
    }

    private void Decompress(ulong entry, byte[] data)
    {
        (long offset, int length) = L2Entry.CompressedRange(entry, clusterBits);
        byte[] compressed = ArrayPool<byte>.Shared.Rent(length);
        try
        {
            file.Read(offset, compressed.AsSpan(0, length));
            if (!(type == CompressionType.Zlib ? Inflate(compressed, length, data) : Unzstd(compressed.AsSpan(0, length), data)))
            {
                throw new DiskImageException($"{file.Path} is corrupt: the compressed data at byte {offset} cannot be decompressed");
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(compressed);
        }
    }

    private static bool Inflate(byte[] compressed, int length, byte[] data)
    {
        try
        {
            using var stream = new DeflateStream(new MemoryStream(compressed, 0, length), CompressionMode.Decompress);
            return stream.ReadAtLeast(data, data.Length, throwOnEndOfStream: false) == data.Length;
        }
        catch (InvalidDataException)
        {
            return false;
        }
    }

    /// <summary>A cluster is one frame or several; what follows in the last sector is not its own.</summary>
    private static bool Unzstd(ReadOnlySpan<byte> compressed, Span<byte> data)
    {
        ZSTD_DCtx_s* context = Methods.ZSTD_createDCtx();
        try
        {
            while (!data.IsEmpty)
            {
                fixed (byte* source = compressed, target = data)
                {
                    nuint frame = Methods.ZSTD_findFrameCompressedSize(source, (nuint)compressed.Length);
                    if (Methods.ZSTD_isError(frame))
                    {
                        return false;
                    }

                    nuint done = Methods.ZSTD_decompressDCtx(context, target, (nuint)data.Length, source, frame);
                    if (Methods.ZSTD_isError(done))
                    {
                        return false;
                    }

                    compressed = compressed[(int)frame..];
                    data = data[(int)done..];
                }
            }

            return true;
        }
        finally
        {
            Methods.ZSTD_freeDCtx(context);
        }
    }

    private struct Kept
    {
        public ulong Entry;
        public byte[]? Data;
    }
}
