using System.IO.Compression;
using ZstdSharp;

namespace Vivarium.Storage.Qcow2;

/// <summary>Compresses clusters, one at a time. Not thread-safe; one for each thread.</summary>
internal sealed class ClusterCompressor : IDisposable
{
    private readonly Compressor? _zstd;
    private readonly MemoryStream _deflated = new();

    public ClusterCompressor(CompressionType type) => _zstd = type == CompressionType.Zstd ? new Compressor() : null;

    /// <summary>The compressed bytes, or none if they would not be fewer.</summary>
    public byte[] Compress(ReadOnlySpan<byte> cluster)
    {
        if (_zstd is not null)
        {
            Span<byte> packed = _zstd.Wrap(cluster);
            return packed.Length < cluster.Length ? packed.ToArray() : [];
        }

        _deflated.SetLength(0);
        using (var stream = new DeflateStream(_deflated, CompressionLevel.Optimal, leaveOpen: true))
        {
            stream.Write(cluster);
        }

        return _deflated.Length < cluster.Length ? _deflated.ToArray() : [];
    }

    public void Dispose() => _zstd?.Dispose();
}
