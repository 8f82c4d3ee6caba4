using Microsoft.Win32.SafeHandles;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// What firmware remembers from one start to the next: the contents of its second flash memory, kept in a file of the machine's own
/// or, without one, as long as the machine lives.
/// </summary>
public sealed class FirmwareVariables : IDisposable
{
    private readonly byte[] _bytes;
    private readonly SafeFileHandle? _file;

    private FirmwareVariables(byte[] bytes, SafeFileHandle? file)
    {
        _bytes = bytes;
        _file = file;
    }

    /// <summary>The contents now; a whole number of pages.</summary>
    public ReadOnlyMemory<byte> Bytes => _bytes;

    /// <param name="template">The file with the contents of a machine that has never run.</param>
    /// <param name="path">The machine's own file, which is made if it is not there; null to keep nothing.</param>
    /// <exception cref="BootException">A file cannot be had, or is no such file; the message says why.</exception>
    public static FirmwareVariables Open(string template, string? path)
    {
        byte[] fresh = FirmwareImage.Load(template).Bytes.ToArray();
        if (path is null)
        {
            return new FirmwareVariables(fresh, null);
        }

        SafeFileHandle? file = null;
        try
        {
            file = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            long length = RandomAccess.GetLength(file);
            if (length == 0)
            {
                RandomAccess.Write(file, fresh, 0);
            }
            else if (length != fresh.Length)
            {
                throw new BootException($"the firmware's variables {path} have {length} bytes, and this firmware's have {fresh.Length}; remove the file to start afresh");
            }
            else if (RandomAccess.Read(file, fresh, 0) != fresh.Length)
            {
                throw new BootException($"cannot read the firmware's variables {path}");
            }

            return new FirmwareVariables(fresh, file);
        }
        catch (DirectoryNotFoundException e)
        {
            throw new BootException($"cannot keep the firmware's variables in {path}: there is no such folder; make it or name another file", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            file?.Dispose();
            throw new BootException($"cannot keep the firmware's variables in {path}: {e.Message}", e);
        }
        catch
        {
            file?.Dispose();
            throw;
        }
    }

    /// <summary>The firmware has changed some of them.</summary>
    /// <exception cref="IOException">The host cannot write the file; the machine goes on with what it has.</exception>
    public void Store(int offset, ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_bytes.AsSpan(offset));
        if (_file is not null)
        {
            RandomAccess.Write(_file, bytes, offset);
        }
    }

    public void Dispose() => _file?.Dispose();
}
