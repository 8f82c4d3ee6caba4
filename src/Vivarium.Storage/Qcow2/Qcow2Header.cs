using System.Buffers.Binary;
using System.Text;
using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>
/// The header of a qcow2 file (QEMU's docs/interop/qcow2.txt, "Header" and "Header extensions"), checked: every offset in
/// it is aligned, lies in the file and overlaps nothing, and every size is one that can be worked with. Numbers are big-endian.
/// </summary>
internal sealed class Qcow2Header
{
    public const int MinClusterBits = 9;
    public const int MaxClusterBits = 21;
    public const int Version2Length = 72;
    public const int Version3Length = 112;
    public const int MaxRefcountOrder = 6;

    /// <summary>Limits of QEMU, on tables that are held in memory whole.</summary>
    public const long MaxL1Bytes = 32 << 20;
    public const long MaxRefcountTableBytes = 8 << 20;
    public const int MaxSnapshots = 65536;
    public const int MaxBackingNameLength = 1023;

    // Byte offsets of the fields that are rewritten on their own.
    public const int SizeOffset = 24;
    public const int RefcountTableOffsetOffset = 48;
    public const int IncompatibleFeaturesOffset = 72;
    public const int AutoclearFeaturesOffset = 88;

    public const ulong IncompatibleDirty = 1 << 0;
    public const ulong IncompatibleCorrupt = 1 << 1;
    public const ulong IncompatibleDataFile = 1 << 2;
    public const ulong IncompatibleCompressionType = 1 << 3;
    public const ulong IncompatibleExtendedL2 = 1 << 4;
    public const ulong CompatibleLazyRefcounts = 1 << 0;
    public const ulong AutoclearBitmaps = 1 << 0;

    private const int MinVersion3Length = 104;
    private const ulong SupportedIncompatible = IncompatibleDirty | IncompatibleCorrupt | IncompatibleCompressionType;

    private const uint ExtensionEnd = 0;
    private const uint ExtensionBackingFormat = 0xE2792ACA;
    private const uint ExtensionFeatureNames = 0x6803F857;
    private const uint ExtensionBitmaps = 0x23852875;
    private const int FeatureNameEntry = 48;

    private const int KindIncompatible = 0;
    private const int KindCompatible = 1;
    private const int KindAutoclear = 2;

    /// <summary>The names of the feature bits, as the feature name table of a new image tells them.</summary>
    private static readonly (int Kind, int Bit, string Name)[] FeatureNames =
    [
        (KindIncompatible, 0, "dirty bit"),
        (KindIncompatible, 1, "corrupt bit"),
        (KindIncompatible, 2, "external data file"),
        (KindIncompatible, 3, "compression type"),
        (KindIncompatible, 4, "extended L2 entries"),
        (KindCompatible, 0, "lazy refcounts"),
        (KindAutoclear, 0, "bitmaps"),
        (KindAutoclear, 1, "raw external data"),
    ];

    public int Version { get; init; } = 3;

    public int ClusterBits { get; init; } = 16;

    /// <summary>The size of the disk in bytes.</summary>
    public long Size { get; set; }

    public int L1Size { get; set; }

    public long L1TableOffset { get; set; }

    public long RefcountTableOffset { get; set; }

    public int RefcountTableClusters { get; set; }

    public int SnapshotCount { get; init; }

    public long SnapshotsOffset { get; init; }

    public ulong IncompatibleFeatures { get; set; }

    public ulong CompatibleFeatures { get; init; }

    public ulong AutoclearFeatures { get; set; }

    public int RefcountOrder { get; init; } = 4;

    public CompressionType CompressionType { get; init; }

    /// <summary>The backing file as the image names it.</summary>
    public string? BackingFile { get; private set; }

    /// <summary>The format recorded for it.</summary>
    public string? BackingFormat { get; private set; }

    /// <summary>The bitmap directory, of persistent dirty bitmaps: bytes from <see cref="BitmapDirectoryOffset"/> on.</summary>
    public long BitmapDirectoryOffset { get; private set; }

    public long BitmapDirectoryLength { get; private set; }

    public int BitmapCount { get; private set; }

    public int ClusterSize => 1 << ClusterBits;

    public bool IsDirty => (IncompatibleFeatures & IncompatibleDirty) != 0;

    public bool IsCorrupt => (IncompatibleFeatures & IncompatibleCorrupt) != 0;

    public bool HasLazyRefcounts => (CompatibleFeatures & CompatibleLazyRefcounts) != 0;

    /// <summary>The entries that the L1 table needs for a disk of that size.</summary>
    public static long L1EntriesFor(long size, int clusterBits)
    {
        int bytesPerEntryBits = clusterBits + clusterBits - 3;
        long perEntry = 1L << bytesPerEntryBits;
        return (size / perEntry) + (size % perEntry == 0 ? 0 : 1);
    }

    /// <summary>The largest disk that clusters of that size can make.</summary>
    public static long MaxSize(int clusterBits)
    {
        Int128 most = (Int128)(MaxL1Bytes / sizeof(ulong)) << (clusterBits + clusterBits - 3);
        return most > long.MaxValue - (1 << MaxClusterBits) ? (long.MaxValue >> MaxClusterBits) << MaxClusterBits : (long)most;
    }

    /// <exception cref="DiskImageException">It is no qcow2 header, is malformed, or asks for what is not supported.</exception>
    public static Qcow2Header Read(HostFile file)
    {
        string path = file.Path;
        long length = file.Length;
        Span<byte> bytes = stackalloc byte[Version3Length];
        file.Read(0, bytes);
        if (BinaryPrimitives.ReadUInt32BigEndian(bytes) != ImageProbe.Qcow2Magic)
        {
            throw new DiskImageException($"{path} is no qcow2 image; if it is a raw disk, say format raw");
        }

        if (length < Version2Length)
        {
            throw new DiskImageException($"{path} ends within its qcow2 header; it is truncated");
        }

        uint version = BinaryPrimitives.ReadUInt32BigEndian(bytes[4..]);
        if (version is not (2 or 3))
        {
            throw new DiskImageException($"{path} has qcow version {version}, and viv knows 2 and 3; convert it with: qemu-img convert -O qcow2");
        }

        uint clusterBits = BinaryPrimitives.ReadUInt32BigEndian(bytes[20..]);
        if (clusterBits is < MinClusterBits or > MaxClusterBits)
        {
            throw Malformed(path, $"its clusters are 2^{clusterBits} bytes, and 2^{MinClusterBits} to 2^{MaxClusterBits} are possible");
        }

        bool isVersion3 = version == 3;
        uint refcountOrder = isVersion3 ? BinaryPrimitives.ReadUInt32BigEndian(bytes[96..]) : 4;
        uint headerLength = isVersion3 ? BinaryPrimitives.ReadUInt32BigEndian(bytes[100..]) : Version2Length;
        if (isVersion3 && (headerLength < MinVersion3Length || headerLength > 1 << (int)clusterBits || headerLength % 8 != 0))
        {
            throw Malformed(path, $"its header is {headerLength} bytes long");
        }

        if (refcountOrder > MaxRefcountOrder)
        {
            throw Malformed(path, $"its refcounts are 2^{refcountOrder} bits wide, and 2^{MaxRefcountOrder} are possible");
        }

        ulong size = BinaryPrimitives.ReadUInt64BigEndian(bytes[SizeOffset..]);
        if (size > (ulong)MaxSize((int)clusterBits))
        {
            throw Malformed(path, $"a disk of {size} bytes is larger than its clusters of {1 << (int)clusterBits} bytes can make");
        }

        var header = new Qcow2Header
        {
            Version = (int)version,
            ClusterBits = (int)clusterBits,
            Size = (long)size,
            L1Size = Count(path, bytes[36..], (int)(MaxL1Bytes / sizeof(ulong)), "entries of the L1 table"),
            L1TableOffset = Offset(bytes[40..]),
            RefcountTableOffset = Offset(bytes[RefcountTableOffsetOffset..]),
            RefcountTableClusters = Count(path, bytes[56..], (int)(MaxRefcountTableBytes >> (int)clusterBits), "clusters of the refcount table"),
            SnapshotCount = Count(path, bytes[60..], MaxSnapshots, "snapshots"),
            SnapshotsOffset = Offset(bytes[64..]),
            IncompatibleFeatures = isVersion3 ? BinaryPrimitives.ReadUInt64BigEndian(bytes[IncompatibleFeaturesOffset..]) : 0,
            CompatibleFeatures = isVersion3 ? BinaryPrimitives.ReadUInt64BigEndian(bytes[80..]) : 0,
            AutoclearFeatures = isVersion3 ? BinaryPrimitives.ReadUInt64BigEndian(bytes[AutoclearFeaturesOffset..]) : 0,
            RefcountOrder = (int)refcountOrder,
            CompressionType = (CompressionType)(headerLength > MinVersion3Length ? bytes[104] : 0),
        };

        byte[] cluster = new byte[header.ClusterSize];
        file.Read(0, cluster);
        Dictionary<int, string> names = header.ReadExtensions(path, cluster, (int)headerLength);
        header.RefuseUnsupported(path, BinaryPrimitives.ReadUInt32BigEndian(bytes[32..]), names);
        header.ReadBackingName(path, cluster);
        header.CheckTables(path, length);
        return header;
    }

    /// <summary>The first cluster of a new image: this header, its extensions and the name of the backing file.</summary>
    /// <exception cref="DiskImageException">The name is too long.</exception>
    public byte[] Write(string? backingFile, string? backingFormat)
    {
        byte[] cluster = new byte[ClusterSize];
        bool isVersion3 = Version == 3;
        int position = isVersion3 ? Version3Length : Version2Length;
        if (backingFile is not null && backingFormat is not null)
        {
            byte[] format = Encoding.ASCII.GetBytes(backingFormat);
            position = WriteExtension(cluster, position, ExtensionBackingFormat, format);
        }

        // The smallest clusters have no room for names, which are a courtesy.
        int namesLength = FeatureNames.Length * FeatureNameEntry;
        byte[] backing = backingFile is null ? [] : Encoding.UTF8.GetBytes(backingFile);
        if (isVersion3 && position + 16 + namesLength + backing.Length <= cluster.Length)
        {
            byte[] table = new byte[namesLength];
            for (int i = 0; i < FeatureNames.Length; i++)
            {
                (int kind, int bit, string name) = FeatureNames[i];
                table[i * FeatureNameEntry] = (byte)kind;
                table[(i * FeatureNameEntry) + 1] = (byte)bit;
                Encoding.ASCII.GetBytes(name, table.AsSpan((i * FeatureNameEntry) + 2));
            }

            position = WriteExtension(cluster, position, ExtensionFeatureNames, table);
        }

        position = WriteExtension(cluster, position, ExtensionEnd, []);
        if (backing.Length > MaxBackingNameLength || position + backing.Length > cluster.Length)
        {
            throw new DiskImageException($"the name of the backing file {backingFile} is too long for the image's header; use a shorter path or larger clusters");
        }

        backing.CopyTo(cluster.AsSpan(position));
        Span<byte> header = cluster;
        BinaryPrimitives.WriteUInt32BigEndian(header, ImageProbe.Qcow2Magic);
        BinaryPrimitives.WriteUInt32BigEndian(header[4..], (uint)Version);
        BinaryPrimitives.WriteInt64BigEndian(header[8..], backing.Length > 0 ? position : 0);
        BinaryPrimitives.WriteInt32BigEndian(header[16..], backing.Length);
        BinaryPrimitives.WriteInt32BigEndian(header[20..], ClusterBits);
        WriteSizes(header[SizeOffset..]);
        WriteRefcountTable(header[RefcountTableOffsetOffset..]);
        if (isVersion3)
        {
            BinaryPrimitives.WriteUInt64BigEndian(header[IncompatibleFeaturesOffset..], IncompatibleFeatures);
            BinaryPrimitives.WriteUInt64BigEndian(header[80..], CompatibleFeatures);
            BinaryPrimitives.WriteUInt64BigEndian(header[AutoclearFeaturesOffset..], AutoclearFeatures);
            BinaryPrimitives.WriteInt32BigEndian(header[96..], RefcountOrder);
            BinaryPrimitives.WriteInt32BigEndian(header[100..], Version3Length);
            header[104] = (byte)CompressionType;
        }

        return cluster;
    }

    /// <summary>Replaces size and L1 table in the file, at once.</summary>
    public void UpdateSizes(HostFile file)
    {
        Span<byte> fields = stackalloc byte[24];
        WriteSizes(fields);
        file.Write(SizeOffset, fields);
    }

    /// <summary>Replaces the refcount table in the file, at once.</summary>
    public void UpdateRefcountTable(HostFile file)
    {
        Span<byte> fields = stackalloc byte[12];
        WriteRefcountTable(fields);
        file.Write(RefcountTableOffsetOffset, fields);
    }

    public void UpdateIncompatibleFeatures(HostFile file, ulong features)
    {
        WriteFeatures(file, IncompatibleFeaturesOffset, features);
        IncompatibleFeatures = features;
    }

    public void UpdateAutoclearFeatures(HostFile file, ulong features)
    {
        WriteFeatures(file, AutoclearFeaturesOffset, features);
        AutoclearFeatures = features;
    }

    private static void WriteFeatures(HostFile file, int offset, ulong features)
    {
        Span<byte> field = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64BigEndian(field, features);
        file.Write(offset, field);
    }

    private void WriteSizes(Span<byte> fields)
    {
        BinaryPrimitives.WriteInt64BigEndian(fields, Size);
        BinaryPrimitives.WriteInt32BigEndian(fields[8..], 0); // crypt_method: none
        BinaryPrimitives.WriteInt32BigEndian(fields[12..], L1Size);
        BinaryPrimitives.WriteInt64BigEndian(fields[16..], L1TableOffset);
    }

    private void WriteRefcountTable(Span<byte> fields)
    {
        BinaryPrimitives.WriteInt64BigEndian(fields, RefcountTableOffset);
        BinaryPrimitives.WriteInt32BigEndian(fields[8..], RefcountTableClusters);
    }

    private static int WriteExtension(Span<byte> cluster, int position, uint type, ReadOnlySpan<byte> data)
    {
        BinaryPrimitives.WriteUInt32BigEndian(cluster[position..], type);
        BinaryPrimitives.WriteInt32BigEndian(cluster[(position + 4)..], data.Length);
        data.CopyTo(cluster[(position + 8)..]);
        return position + 8 + ((data.Length + 7) & ~7);
    }

    private static DiskImageException Malformed(string path, string what) => new($"{path} is no sound qcow2 image: {what}");

    /// <summary>An offset of a table; one too large for a file becomes one that no file reaches.</summary>
    private static long Offset(ReadOnlySpan<byte> bytes) => (long)Math.Min(BinaryPrimitives.ReadUInt64BigEndian(bytes), long.MaxValue);

    private static int Count(string path, ReadOnlySpan<byte> bytes, int most, string what)
    {
        uint value = BinaryPrimitives.ReadUInt32BigEndian(bytes);
        return value <= most ? (int)value : throw Malformed(path, $"it claims {value} {what}, and {most} are possible");
    }

    private Dictionary<int, string> ReadExtensions(string path, ReadOnlySpan<byte> cluster, int position)
    {
        // They end where the name of the backing file begins.
        var names = new Dictionary<int, string>();
        long nameOffset = Offset(cluster[8..]);
        int end = nameOffset > 0 && nameOffset < cluster.Length ? (int)nameOffset : cluster.Length;
        while (position <= end - 8)
        {
            uint type = BinaryPrimitives.ReadUInt32BigEndian(cluster[position..]);
            uint length = BinaryPrimitives.ReadUInt32BigEndian(cluster[(position + 4)..]);
            position += 8;
            if (type == ExtensionEnd)
            {
                break;
            }

            if (length > end - position)
            {
                throw Malformed(path, $"a header extension of {length} bytes leaves the header");
            }

            ReadOnlySpan<byte> data = cluster.Slice(position, (int)length);
            switch (type)
            {
                case ExtensionBackingFormat:
                    BackingFormat = Encoding.UTF8.GetString(data);
                    break;
                case ExtensionFeatureNames:
                    for (; data.Length >= FeatureNameEntry; data = data[FeatureNameEntry..])
                    {
                        if (data[0] == KindIncompatible)
                        {
                            names[data[1]] = Printable(data[2..FeatureNameEntry]);
                        }
                    }

                    break;
                case ExtensionBitmaps when data.Length >= 24 && (AutoclearFeatures & AutoclearBitmaps) != 0:
                    BitmapCount = (int)Math.Min(BinaryPrimitives.ReadUInt32BigEndian(data), int.MaxValue);
                    BitmapDirectoryLength = Offset(data[8..]);
                    BitmapDirectoryOffset = Offset(data[16..]);
                    break;
            }

            position += (int)((length + 7) & ~7u);
        }

        return names;
    }

    private void RefuseUnsupported(string path, uint encryption, Dictionary<int, string> names)
    {
        if (encryption != 0)
        {
            string method = encryption switch { 1 => "AES", 2 => "LUKS", _ => $"method {encryption}" };
            throw new DiskImageException($"{path} is encrypted ({method}), which viv cannot read; convert it with: qemu-img convert -O qcow2");
        }

        ulong unknown = IncompatibleFeatures & ~SupportedIncompatible;
        if (unknown != 0)
        {
            int bit = System.Numerics.BitOperations.TrailingZeroCount(unknown);
            string name = (1UL << bit) switch
            {
                IncompatibleDataFile => "an external data file",
                IncompatibleExtendedL2 => "extended L2 entries",
                _ => names.TryGetValue(bit, out string? known) ? $"'{known}'" : $"incompatible feature bit {bit}",
            };
            throw new DiskImageException($"{path} uses {name}, which viv does not support; convert it with: qemu-img convert -O qcow2");
        }

        bool saysType = (IncompatibleFeatures & IncompatibleCompressionType) != 0;
        if (CompressionType is not (CompressionType.Zlib or CompressionType.Zstd))
        {
            throw new DiskImageException($"{path} is compressed by method {(int)CompressionType}, and viv knows zlib (0) and zstd (1)");
        }

        if (saysType != (CompressionType != CompressionType.Zlib))
        {
            throw Malformed(path, "its compression type and the feature bit about it disagree");
        }
    }

    private void ReadBackingName(string path, ReadOnlySpan<byte> cluster)
    {
        ulong offset = BinaryPrimitives.ReadUInt64BigEndian(cluster[8..]);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(cluster[16..]);
        if (offset == 0 || length == 0)
        {
            BackingFormat = null;
            return;
        }

        if (length > MaxBackingNameLength || offset > (ulong)(cluster.Length - (int)length))
        {
            throw Malformed(path, "the name of its backing file leaves the header");
        }

        BackingFile = Encoding.UTF8.GetString(cluster.Slice((int)offset, (int)length));
        if (BackingFile.AsSpan().ContainsAnyInRange('\0', '\x1F'))
        {
            throw Malformed(path, "the name of its backing file has control characters");
        }
    }

    private void CheckTables(string path, long fileLength)
    {
        long l1Bytes = (long)L1Size * sizeof(ulong);
        long refcountBytes = (long)RefcountTableClusters << ClusterBits;
        if (L1Size < L1EntriesFor(Size, ClusterBits))
        {
            throw Malformed(path, $"its L1 table of {L1Size} entries is too small for a disk of {Size} bytes");
        }

        CheckTable(path, fileLength, L1TableOffset, l1Bytes, "L1 table");
        CheckTable(path, fileLength, RefcountTableOffset, refcountBytes, "refcount table");
        CheckTable(path, fileLength, SnapshotsOffset, SnapshotCount, "snapshot table");
        if (RefcountTableClusters == 0)
        {
            throw Malformed(path, "it has no refcount table");
        }

        if (L1Size > 0 && L1TableOffset < RefcountTableOffset + refcountBytes && RefcountTableOffset < L1TableOffset + l1Bytes)
        {
            throw Malformed(path, "its L1 table and its refcount table overlap");
        }
    }

    private void CheckTable(string path, long fileLength, long offset, long length, string what)
    {
        if (length == 0)
        {
            return;
        }

        if (offset < ClusterSize || offset % ClusterSize != 0)
        {
            throw Malformed(path, $"its {what} begins at byte {offset}, which is {(offset < ClusterSize ? "within the header" : "no cluster's start")}");
        }

        // The last cluster of a file need not be whole.
        long end = (fileLength + ClusterSize - 1) & -ClusterSize;
        if (offset > end - length)
        {
            throw new DiskImageException($"{path} has {fileLength} bytes, but its {what} lies at byte {offset}; it is truncated");
        }
    }

    private static string Printable(ReadOnlySpan<byte> name)
    {
        int end = name.IndexOf((byte)0);
        string text = Encoding.UTF8.GetString(end < 0 ? name : name[..end]);
        return string.Concat(text.Where(c => !char.IsControl(c)));
    }
}
