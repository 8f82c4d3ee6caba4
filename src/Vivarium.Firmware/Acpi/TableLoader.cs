using System.Text;

namespace Vivarium.Firmware.Acpi;

/// <summary>
/// The script by which firmware puts tables into memory that it chooses (QEMU's table loader, "etc/table-loader"): files to
/// allocate, pointers to add their addresses to, and checksums to make right afterwards. Entries have 128 bytes.
/// </summary>
internal sealed class TableLoader
{
    private const int EntryLength = 128;
    private const int FileNameLength = 56;

    private readonly LittleEndianWriter _script = new();
    private int _entries;

    private enum Command : uint
    {
        Allocate = 1,
        AddPointer = 2,
        AddChecksum = 3,
    }

    public enum Zone : byte
    {
        High = 1,

        /// <summary>Below 1 MiB, where systems search for the root pointer.</summary>
        BiosSegment = 2,
    }

    public byte[] ToArray() => _script.ToArray();

    /// <summary>Puts a file into memory; its own name stands for its address from then on.</summary>
    public void Allocate(string file, uint alignment, Zone zone)
    {
        _script.U32((uint)Command.Allocate);
        Name(file);
        _script.U32(alignment);
        _script.U8((byte)zone);
        EndEntry();
    }

    /// <summary>Adds the address of <paramref name="target"/> to the offset in it that stands at a place of <paramref name="file"/>.</summary>
    /// <param name="size">4 or 8.</param>
    public void AddPointer(string file, int offset, int size, string target)
    {
        _script.U32((uint)Command.AddPointer);
        Name(file);
        Name(target);
        _script.U32((uint)offset);
        _script.U8((byte)size);
        EndEntry();
    }

    /// <summary>Makes bytes of a file sum to zero by the one at <paramref name="offset"/>, which is zero before.</summary>
    public void AddChecksum(string file, int offset, int start, int length)
    {
        _script.U32((uint)Command.AddChecksum);
        Name(file);
        _script.U32((uint)offset);
        _script.U32((uint)start);
        _script.U32((uint)length);
        EndEntry();
    }

    private void Name(string file)
    {
        byte[] name = new byte[FileNameLength];
        Encoding.ASCII.GetBytes(file, name);
        _script.Bytes(name);
    }

    private void EndEntry() => _script.PadTo(++_entries * EntryLength);
}
