using Microsoft.Win32.SafeHandles;
using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// A kernel or initrd as a hostile sequence of bytes: read by offset, never past its end, copied to guest memory piece by
/// piece so that the monitor does not hold a second copy. What cannot be read by offset (a pipe) is kept in memory.
/// </summary>
internal sealed class ImageFile : IDisposable
{
    private const int CopyPiece = 256 * 1024;

    /// <summary>As much as is kept of what has no length, such as a pipe: more than a kernel or an initrd need.</summary>
    private const int MaximumStream = 512 << 20;

    private readonly SafeFileHandle? _handle;
    private readonly ReadOnlyMemory<byte> _bytes;

    private ImageFile(string name, SafeFileHandle handle, ulong length)
    {
        Name = name;
        Length = length;
        _handle = handle;
    }

    public ImageFile(string name, ReadOnlyMemory<byte> bytes)
    {
        Name = name;
        Length = (ulong)bytes.Length;
        _bytes = bytes;
    }

    /// <summary>What to call it in a message: its path.</summary>
    public string Name { get; }

    public ulong Length { get; }

    /// <param name="path">The file.</param>
    /// <param name="whatItIs">The noun for messages: "kernel", "initrd".</param>
    public static ImageFile Open(string path, string whatItIs)
    {
        if (path.Length == 0)
        {
            throw new BootException($"the name of the {whatItIs} is empty; give the path of a file");
        }

        if (Directory.Exists(path))
        {
            throw new BootException($"{path} is a directory, not a {whatItIs}; give the path of a file");
        }

        try
        {
            SafeFileHandle handle = File.OpenHandle(path);
            if (TryGetLength(handle, out ulong length))
            {
                return new ImageFile(path, handle, length);
            }

            using var stream = new FileStream(handle, FileAccess.Read, 0);
            return Read(path, stream);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BootException($"{path} does not exist; give the path of a {whatItIs}", e);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new BootException($"{path} may not be read; check the permissions of the {whatItIs}", e);
        }
        catch (Exception e) when (e is IOException or ArgumentException or NotSupportedException)
        {
            throw new BootException($"{path} cannot be opened as a {whatItIs}: {e.Message}", e);
        }
    }

    public static ImageFile Read(string name, Stream stream)
    {
        try
        {
            using var copy = new MemoryStream();
            byte[] piece = new byte[CopyPiece];
            for (int got; (got = stream.Read(piece)) != 0;)
            {
                copy.Write(piece, 0, got);
                if (copy.Length > MaximumStream)
                {
                    throw new BootException($"{name} has no end within {ByteSize.Text(MaximumStream)}; give a regular file");
                }
            }

            return new ImageFile(name, copy.GetBuffer().AsMemory(0, (int)copy.Length));
        }
        catch (Exception e) when (e is IOException or NotSupportedException or ObjectDisposedException)
        {
            throw new BootException($"{name} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Fills <paramref name="buffer"/> from <paramref name="offset"/>; false if the file ends before.</summary>
    public bool TryRead(ulong offset, Span<byte> buffer)
    {
        if (offset > Length || (ulong)buffer.Length > Length - offset)
        {
            return false;
        }

        if (_handle is null)
        {
            _bytes.Span.Slice((int)offset, buffer.Length).CopyTo(buffer);
            return true;
        }

        try
        {
            while (!buffer.IsEmpty)
            {
                int got = RandomAccess.Read(_handle, buffer, (long)offset);
                if (got == 0)
                {
                    return false;
                }

                buffer = buffer[got..];
                offset += (ulong)got;
            }
        }
        catch (IOException e)
        {
            throw new BootException($"{Name} cannot be read: {e.Message}", e);
        }

        return true;
    }

    /// <summary>A part of the file, which the caller knows to be there, in memory.</summary>
    public byte[] ReadPart(ulong offset, ulong length)
    {
        if (length > MaximumStream)
        {
            throw new BootException($"{Name} has {ByteSize.Text(length)} to load, and {ByteSize.Text(MaximumStream)} is the most; give a smaller file");
        }

        byte[] bytes = new byte[length];
        return TryRead(offset, bytes) ? bytes : throw new BootException($"{Name} became shorter while it was read; try again with a complete file");
    }

    /// <summary>Copies part of the file to guest memory, which the caller knows to be there.</summary>
    public void CopyTo(GuestMemory memory, ulong gpa, ulong offset, ulong length)
    {
        byte[] piece = new byte[(int)Math.Min(length, CopyPiece)];
        while (length != 0)
        {
            Span<byte> part = piece.AsSpan(0, (int)Math.Min(length, (ulong)piece.Length));
            if (!TryRead(offset, part))
            {
                throw new BootException($"{Name} became shorter while it was read; try again with a complete file");
            }

            memory.Write(gpa, part);
            gpa += (ulong)part.Length;
            offset += (ulong)part.Length;
            length -= (ulong)part.Length;
        }
    }

    public void Dispose() => _handle?.Dispose();

    /// <summary>False for what has no length: a pipe or a terminal.</summary>
    private static bool TryGetLength(SafeFileHandle handle, out ulong length)
    {
        try
        {
            length = (ulong)RandomAccess.GetLength(handle);
            return true;
        }
        catch (NotSupportedException)
        {
            length = 0;
            return false;
        }
    }
}
