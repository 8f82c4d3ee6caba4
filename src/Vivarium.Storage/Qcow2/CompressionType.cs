namespace Vivarium.Storage.Qcow2;

/// <summary>How compressed clusters are compressed (qcow2.txt, "compression_type").</summary>
public enum CompressionType
{
    /// <summary>Raw deflate, RFC 1951.</summary>
    Zlib = 0,

    /// <summary>Zstandard frames, RFC 8878.</summary>
    Zstd = 1,
}
