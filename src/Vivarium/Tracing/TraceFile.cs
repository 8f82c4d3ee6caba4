namespace Vivarium.Tracing;

/// <summary>
/// A file of bounded size that keeps the end of what is written to it: grown to half of its size it becomes the older half,
/// in place of the one before.
/// </summary>
internal sealed class TraceFile : IDisposable
{
    private const string OlderSuffix = ".old";

    private readonly string _path;
    private readonly long _half;
    private FileStream _file;
    private long _written;

    /// <exception cref="IOException">It cannot be made.</exception>
    /// <exception cref="UnauthorizedAccessException">It cannot be made.</exception>
    public TraceFile(string path, long size)
    {
        _path = path;
        _half = size / 2;
        _file = Open(path);
    }

    /// <summary>Writes whole lines: they stay together.</summary>
    /// <exception cref="IOException">The host cannot write it.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder does not let the older half be renamed.</exception>
    public void Write(ReadOnlySpan<byte> lines)
    {
        // What is no file (a pipe, a terminal) has no size to bound.
        if (_file.CanSeek && _written != 0 && _written + lines.Length > _half)
        {
            _file.Dispose();
            File.Move(_path, _path + OlderSuffix, overwrite: true);
            _file = Open(_path);
            _written = 0;
        }

        _file.Write(lines);
        _written += lines.Length;
    }

    public void Dispose() => _file.Dispose();

    private static FileStream Open(string path) => new(path, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
}
