namespace Vivarium.Devices;

/// <summary>
/// The contents of a disk. Offsets and lengths are in bytes and have been checked against <see cref="Length"/>; reads and
/// writes go straight from and to guest RAM. Called on several threads at once, without any lock. Failures are
/// <see cref="IOException"/>: the guest sees an I/O error, the user the message.
/// </summary>
public interface IBlockBackend
{
    /// <summary>The size in bytes, a multiple of 512.</summary>
    ulong Length { get; }

    /// <summary>The size of a logical block in bytes: a power of two from 512 to 4096.</summary>
    uint LogicalBlockSize { get; }

    /// <summary>The size in bytes of what can be written without reading: a power of two, at least <see cref="LogicalBlockSize"/>.</summary>
    uint PhysicalBlockSize { get; }

    bool ReadOnly { get; }

    /// <summary>Discard does something.</summary>
    bool CanDiscard { get; }

    /// <summary>WriteZeroes costs less than writing zeros.</summary>
    bool CanWriteZeroes { get; }

    /// <summary>Fills all segments from <paramref name="offset"/> on.</summary>
    void Read(ulong offset, ReadOnlySpan<IoSegment> segments);

    /// <summary>Writes all segments from <paramref name="offset"/> on.</summary>
    void Write(ulong offset, ReadOnlySpan<IoSegment> segments);

    /// <summary>Returns when everything written before is on stable storage.</summary>
    void Flush();

    /// <summary>The contents are no longer needed.</summary>
    void Discard(ulong offset, ulong length);

    /// <summary>The range reads as zeros afterwards; <paramref name="mayUnmap"/> lets it give its storage back.</summary>
    void WriteZeroes(ulong offset, ulong length, bool mayUnmap);
}
