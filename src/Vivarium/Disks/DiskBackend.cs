using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Devices;
using Vivarium.Storage;

namespace Vivarium.Disks;

/// <summary>A disk image as a block device sees it. Both sides describe memory as the host's kernel does, so nothing is copied.</summary>
internal sealed class DiskBackend(DiskImage image) : IBlockBackend
{
    private const uint SectorSize = DiskImage.SectorSize;
    private const uint PageSize = 4096;

    static DiskBackend()
    {
        if (Unsafe.SizeOf<Devices.IoSegment>() != Unsafe.SizeOf<Storage.IoSegment>())
        {
            throw new InvalidOperationException("devices and disks describe memory differently");
        }
    }

    public ulong Length => (ulong)image.Length;

    public uint LogicalBlockSize => SectorSize;

    public uint PhysicalBlockSize => PageSize;

    public bool ReadOnly => image.IsReadOnly;

    public bool CanDiscard => !image.IsReadOnly;

    public bool CanWriteZeroes => !image.IsReadOnly;

    public void Read(ulong offset, ReadOnlySpan<Devices.IoSegment> segments) => image.Read((long)offset, AsHost(segments));

    public void Write(ulong offset, ReadOnlySpan<Devices.IoSegment> segments) => image.Write((long)offset, AsHost(segments));

    public void Flush() => image.Flush();

    public void Discard(ulong offset, ulong length) => image.Discard((long)offset, (long)length);

    public void WriteZeroes(ulong offset, ulong length, bool mayUnmap) => image.WriteZeroes((long)offset, (long)length, mayUnmap);

    private static ReadOnlySpan<Storage.IoSegment> AsHost(ReadOnlySpan<Devices.IoSegment> segments) =>
        MemoryMarshal.Cast<Devices.IoSegment, Storage.IoSegment>(segments);
}
