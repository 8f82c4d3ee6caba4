using System.Buffers.Binary;
using System.Text;
using Vivarium.Storage.Host;
using Vivarium.Storage.Tools;

namespace Vivarium.Storage.Qcow2;

/// <summary>The snapshots of an image (qcow2.txt, "Snapshots"): their descriptions and where their L1 tables are.</summary>
internal sealed class SnapshotTable
{
    private const int FixedLength = 40;
    private const int MaxExtraLength = 1024;
    private const long MaxLength = 16 << 20;

    private SnapshotTable(List<Entry> entries, long length)
    {
        Entries = entries;
        Length = length;
    }

    public IReadOnlyList<Entry> Entries { get; }

    /// <summary>The bytes that the table takes in the file.</summary>
    public long Length { get; }

    /// <exception cref="DiskImageException">The table is malformed.</exception>
    public static SnapshotTable Read(HostFile file, Qcow2Header header)
    {
        var entries = new List<Entry>(Math.Min(header.SnapshotCount, 1024));
        long fileLength = file.Length;
        long at = header.SnapshotsOffset;
        Span<byte> bytes = stackalloc byte[FixedLength];
        for (int i = 0; i < header.SnapshotCount; i++)
        {
            if (at > fileLength - FixedLength || at - header.SnapshotsOffset > MaxLength)
            {
                throw new DiskImageException($"{file.Path} ends within its snapshot table, or that is larger than can be; it is truncated or damaged");
            }

            file.Read(at, bytes);
            int idLength = BinaryPrimitives.ReadUInt16BigEndian(bytes[12..]);
            int nameLength = BinaryPrimitives.ReadUInt16BigEndian(bytes[14..]);
            uint extraLength = BinaryPrimitives.ReadUInt32BigEndian(bytes[36..]);
            if (extraLength > MaxExtraLength)
            {
                throw new DiskImageException($"{file.Path} has a malformed snapshot table: entry {i} has {extraLength} bytes of extra data");
            }

            byte[] rest = new byte[(int)extraLength + idLength + nameLength];
            file.Read(at + FixedLength, rest);
            long l1Offset = BinaryPrimitives.ReadInt64BigEndian(bytes);
            uint l1Size = BinaryPrimitives.ReadUInt32BigEndian(bytes[8..]);
            long l1Bytes = (long)l1Size * sizeof(ulong);
            if (l1Bytes > Qcow2Header.MaxL1Bytes || (l1Size > 0 && (l1Offset < header.ClusterSize || l1Offset % header.ClusterSize != 0 || l1Offset > RoundUp(fileLength, header) - l1Bytes)))
            {
                throw new DiskImageException($"{file.Path} has a malformed snapshot table: the L1 table of entry {i} lies outside of the file or at no cluster's start");
            }

            entries.Add(new Entry(l1Offset, (int)l1Size, new DiskSnapshot(
                Text(rest.AsSpan((int)extraLength, idLength)),
                Text(rest.AsSpan((int)extraLength + idLength, nameLength)),
                DateTimeOffset.FromUnixTimeSeconds(BinaryPrimitives.ReadUInt32BigEndian(bytes[16..])),
                extraLength >= 16 ? BinaryPrimitives.ReadInt64BigEndian(rest.AsSpan(8)) : header.Size,
                extraLength >= 8 ? BinaryPrimitives.ReadInt64BigEndian(rest) : BinaryPrimitives.ReadUInt32BigEndian(bytes[32..]))));
            at += (FixedLength + rest.Length + 7) & ~7;
        }

        return new SnapshotTable(entries, at - header.SnapshotsOffset);
    }

    private static long RoundUp(long length, Qcow2Header header) => (length + header.ClusterSize - 1) & -(long)header.ClusterSize;

    private static string Text(ReadOnlySpan<byte> bytes) => string.Concat(Encoding.UTF8.GetString(bytes).Where(c => !char.IsControl(c)));

    /// <param name="L1Offset">Where the snapshot's L1 table is in the file.</param>
    /// <param name="L1Size">Its entries.</param>
    /// <param name="Description">What the user sees.</param>
    internal sealed record Entry(long L1Offset, int L1Size, DiskSnapshot Description);
}
