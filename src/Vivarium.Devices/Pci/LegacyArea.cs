using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// The addresses from 0xA0000 to 0xFFFFF, which a PC's host bridge leads to RAM or to the bus piece by piece: the graphics window,
/// and twelve segments of 16 KiB and one of 64 KiB with ROMs or their copies in RAM (82441FX data sheet, 290549, 3.2.18).
/// </summary>
public sealed unsafe class LegacyArea : IMmioDevice
{
    public const ulong WindowStart = 0xA_0000;
    public const ulong WindowLength = 0x2_0000;
    public const ulong SegmentsStart = 0xC_0000;
    public const ulong SegmentsEnd = 0x10_0000;

    /// <summary>Segments in the order of addresses; the last one has 64 KiB.</summary>
    public const int Segments = 13;

    private const ulong SegmentLength = 0x4000;
    private const ulong LastSegment = 0xF_0000;

    private readonly GuestMemory _memory;
    private readonly MemoryRegion _ram;
    private readonly MemoryRegion? _rom;
    private readonly bool[] _writeOnly = new bool[Segments];

    /// <param name="ram">The machine's memory from address 0 on.</param>
    /// <param name="rom">What stands at the end of the area on the bus; null for nothing.</param>
    public LegacyArea(GuestMemory memory, MemoryRegion ram, MemoryRegion? rom)
    {
        _memory = memory;
        _ram = ram;
        _rom = rom;
    }

    /// <summary>Takes what writes come to the segments, which is where the memory map has no RAM for them.</summary>
    public void Map(MmioBus mmio) => mmio.Map(SegmentsStart, SegmentsEnd - SegmentsStart, this, "shadow RAM");

    /// <summary>Leads the graphics window to the RAM behind it, or to the bus.</summary>
    public void OpenWindow(bool toRam)
    {
        if (toRam)
            _memory.Map(WindowStart, _ram, WindowStart, WindowLength);
        else
            _memory.Unmap(WindowStart, WindowLength);
    }

    /// <summary>Says whether reads and writes of a segment reach RAM; else they reach the bus.</summary>
    public void Route(int segment, bool reads, bool writes)
    {
        var start = segment == Segments - 1 ? LastSegment : SegmentsStart + (ulong)segment * SegmentLength;
        var length = segment == Segments - 1 ? SegmentsEnd - LastSegment : SegmentLength;
        Volatile.Write(ref _writeOnly[segment], writes && !reads);
        if (reads)
            _memory.Map(start, _ram, start, length, readOnly: !writes);
        else if (_rom is not null && start >= SegmentsEnd - _rom.Length)
            _memory.Map(start, _rom, start - (SegmentsEnd - _rom.Length), length, readOnly: true);
        else
            _memory.Unmap(start, length);
    }

    /// <summary>Nothing is there: RAM and ROM are read without us.</summary>
    public ulong ReadMmio(ulong offset, int size) => ulong.MaxValue;

    public void WriteMmio(ulong offset, int size, ulong value)
    {
        var segment = (int)Math.Min(offset / SegmentLength, Segments - 1);
        if (!Volatile.Read(ref _writeOnly[segment]))
            return;
        var host = _ram.Host + SegmentsStart + offset;
        new ReadOnlySpan<byte>(&value, size).CopyTo(new Span<byte>(host, size));
        _memory.NoteWritten(host, (ulong)size);
    }
}
