using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace Vivarium.Firmware.Cpio;

/// <summary>
/// Writes an initramfs: a cpio archive in the "newc" format that Linux unpacks into its first root file system
/// (Documentation/driver-api/early-userspace/buffer-format.rst). Missing parent directories are added, because the
/// kernel does not make them. All times are zero and inode numbers count up, so that equal content gives equal bytes.
/// </summary>
public sealed class InitramfsBuilder : IDisposable
{
    private const string Magic = "070701";
    private const string Trailer = "TRAILER!!!";
    private const int HeaderSize = 110;
    private const int Alignment = 4;

    private const uint TypeMask = 0xF000;
    private const uint FileType = 0x8000;
    private const uint DirectoryType = 0x4000;
    private const uint SymlinkType = 0xA000;
    private const uint CharacterDeviceType = 0x2000;
    private const uint PermissionMask = 0xFFF;

    private const uint DefaultDirectoryMode = 0x1ED; // 0755
    private const uint SymlinkMode = 0x1FF; // 0777

    private readonly Stream _output;
    private readonly HashSet<string> _names = [];
    private long _position;
    private uint _inode;
    private bool _finished;

    /// <param name="output">Receives the archive and stays open.</param>
    public InitramfsBuilder(Stream output) => _output = output;

    /// <summary>An archive in memory, compressed with gzip if asked for.</summary>
    public static byte[] Build(Action<InitramfsBuilder> content, bool gzip = false)
    {
        using var bytes = new MemoryStream();
        using (var compressor = gzip ? new GZipStream(bytes, CompressionLevel.Fastest, leaveOpen: true) : null)
        using (var builder = new InitramfsBuilder(compressor ?? (Stream)bytes))
        {
            content(builder);
        }

        return bytes.ToArray();
    }

    /// <param name="path">Absolute or relative to the root; "/bin" and "bin" are the same.</param>
    /// <param name="mode">Permission bits.</param>
    public void Directory(string path, uint mode = DefaultDirectoryMode) =>
        Add(path, DirectoryType | mode & PermissionMask, []);

    public void File(string path, ReadOnlySpan<byte> content, uint mode) =>
        Add(path, FileType | mode & PermissionMask, content);

    /// <summary>A text file in UTF-8.</summary>
    public void File(string path, string content, uint mode) => File(path, Encoding.UTF8.GetBytes(content), mode);

    /// <summary>Adds <paramref name="length"/> bytes from <paramref name="content"/>.</summary>
    /// <exception cref="EndOfStreamException">The stream is shorter.</exception>
    public void File(string path, Stream content, long length, uint mode)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, uint.MaxValue);
        Header(path, FileType | mode & PermissionMask, (uint)length);
        byte[] piece = new byte[64 * 1024];
        for (long left = length; left > 0;)
        {
            Span<byte> part = piece.AsSpan(0, (int)Math.Min(left, piece.Length));
            content.ReadExactly(part);
            Put(part);
            left -= part.Length;
        }

        Pad();
    }

    public void Symlink(string path, string target) =>
        Add(path, SymlinkType | SymlinkMode, Encoding.UTF8.GetBytes(target));

    /// <summary>A character device node, such as /dev/console 5:1.</summary>
    public void CharacterDevice(string path, uint major, uint minor, uint mode) =>
        Add(path, CharacterDeviceType | mode & PermissionMask, [], major, minor);

    /// <summary>Writes the trailer; nothing can be added afterwards.</summary>
    public void Finish()
    {
        ObjectDisposedException.ThrowIf(_finished, this);
        Entry(Trailer, 0, 0, 0, 0, 0);
        _finished = true;
    }

    /// <summary>Finishes the archive if that has not been done.</summary>
    public void Dispose()
    {
        if (!_finished)
        {
            Finish();
        }
    }

    private void Add(string path, uint mode, ReadOnlySpan<byte> content, uint major = 0, uint minor = 0)
    {
        Header(path, mode, (uint)content.Length, major, minor);
        Put(content);
        Pad();
    }

    private void Header(string path, uint mode, uint size, uint major = 0, uint minor = 0)
    {
        ObjectDisposedException.ThrowIf(_finished, this);
        string name = path.Trim('/');
        if (name.Length == 0 || name.Contains('\0') || name == Trailer)
        {
            throw new ArgumentException($"'{path}' is not a name for an entry of an initramfs", nameof(path));
        }

        int slash = name.LastIndexOf('/');
        if (slash > 0 && !_names.Contains(name[..slash]))
        {
            Directory(name[..slash]);
        }

        if (!_names.Add(name))
        {
            throw new ArgumentException($"the initramfs has an entry '{name}' already", nameof(path));
        }

        Entry(name, ++_inode, mode, size, major, minor);
    }

    private void Entry(string name, uint inode, uint mode, uint size, uint major, uint minor)
    {
        byte[] nameBytes = Encoding.UTF8.GetBytes(name + '\0');
        uint links = (mode & TypeMask) == DirectoryType ? 2u : 1u;
        ReadOnlySpan<uint> fields =
        [
            inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, (uint)nameBytes.Length, 0,
        ];

        var header = new StringBuilder(Magic, HeaderSize);
        foreach (uint field in fields)
        {
            header.Append(CultureInfo.InvariantCulture, $"{field:X8}");
        }

        Put(Encoding.ASCII.GetBytes(header.ToString()));
        Put(nameBytes);
        Pad();
    }

    private void Put(ReadOnlySpan<byte> bytes)
    {
        _output.Write(bytes);
        _position += bytes.Length;
    }

    private void Pad()
    {
        int over = (int)(_position % Alignment);
        if (over != 0)
        {
            Put("\0\0\0"u8[..(Alignment - over)]);
        }
    }
}
