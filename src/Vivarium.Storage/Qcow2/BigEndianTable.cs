using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>Tables of 64-bit big-endian numbers in a file, whole and in the host's byte order.</summary>
internal static class BigEndianTable
{
    public static ulong[] Read(HostFile file, long offset, long entries)
    {
        var table = new ulong[entries];
        Read(file, offset, table);
        return table;
    }

    public static void Read(HostFile file, long offset, Span<ulong> table)
    {
        file.Read(offset, MemoryMarshal.AsBytes(table));
        BinaryPrimitives.ReverseEndianness(table, table);
    }

    public static void Write(HostFile file, long offset, ReadOnlySpan<ulong> table)
    {
        var swapped = new ulong[table.Length];
        BinaryPrimitives.ReverseEndianness(table, swapped);
        file.Write(offset, MemoryMarshal.AsBytes<ulong>(swapped));
    }

    public static void WriteEntry(HostFile file, long offset, int index, ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        file.Write(offset + ((long)index * sizeof(ulong)), bytes);
    }
}
