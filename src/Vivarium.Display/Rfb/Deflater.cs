using System.IO.Compression;

namespace Vivarium.Display.Rfb;

/// <summary>One of a connection's zlib streams, which last as long as it does; each piece is flushed to a byte's end.</summary>
internal sealed class Deflater : IDisposable
{
    private readonly MemoryStream _compressed = new();
    private readonly ZLibStream _zlib;

    public Deflater() => _zlib = new ZLibStream(_compressed, CompressionLevel.Fastest, leaveOpen: true);

    /// <summary>Holds until the next call.</summary>
    public ReadOnlySpan<byte> Compress(ReadOnlySpan<byte> data)
    {
        _compressed.SetLength(0);
        _zlib.Write(data);
        _zlib.Flush();
        return _compressed.GetBuffer().AsSpan(0, (int)_compressed.Length);
    }

    public void Dispose() => _zlib.Dispose();
}
