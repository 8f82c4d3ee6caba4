using Vivarium.Memory;

namespace Vivarium.Engine.Tests.Mmu;

/// <summary>The guest-physical map as it is changed: what is where, and that pieces join again.</summary>
public sealed class MemoryMapTests : IDisposable
{
    private const ulong Page = GuestMemory.PageSize;

    private readonly GuestMemory _memory = new(64 * Page);

    public void Dispose() => _memory.Dispose();

    /// <summary>A host gives huge pages only where they would begin in the guest too.</summary>
    [Fact]
    public unsafe void MemoryBeginsWhereAHugePageDoes()
    {
        using var memory = new GuestMemory((2 << 20) + (ulong)Page);
        MemorySlot slot = memory.AddSlot(0, memory.Capacity);
        Assert.Equal(0ul, (ulong)slot.Host % (2 << 20));
        Assert.Equal(0ul, memory.HostBytes);
        slot.Host[slot.Length - 1] = 1;
        Assert.InRange(memory.HostBytes, (ulong)Page, memory.Capacity);
        Assert.Equal(slot.Length, memory.Release(0, slot.Length));
        Assert.Equal(0ul, memory.HostBytes);
        Assert.Equal(0, slot.Host[slot.Length - 1]);
    }

    [Fact]
    public void APieceTakenOutAndPutBackIsWholeAgain()
    {
        MemoryRegion ram = _memory.Allocate(16 * Page, isRam: true);
        _memory.Map(0, ram, 0, ram.Length);
        _memory.Write(4 * Page, 7ul);
        _memory.Unmap(4 * Page, 2 * Page);
        Assert.Equal(2, _memory.Slots.Count);
        Assert.False(_memory.TryRead(4 * Page, new byte[1]));
        Assert.Equal(ram.Length, _memory.RamSize);
        _memory.Map(4 * Page, ram, 4 * Page, 2 * Page);
        Assert.Single(_memory.Slots);
        Assert.Equal(7ul, _memory.Read<ulong>(4 * Page));
    }

    [Fact]
    public void ADeviceCannotWriteRomThatALoaderCan()
    {
        MemoryRegion ram = _memory.Allocate(4 * Page, isRam: true);
        _memory.Map(0, ram, 0, ram.Length);
        _memory.Map(Page, ram, Page, Page, readOnly: true);
        Assert.False(_memory.TryWriteRam(Page - 2, [1, 2, 3, 4]));
        Assert.Equal(0, _memory.Read<ushort>(Page));
        Assert.True(_memory.TryWrite(Page - 2, [1, 2, 3, 4]));
        Assert.Equal(0x0403, _memory.Read<ushort>(Page));
    }

    [Fact]
    public void MemoryIsNotPutOverMemoryUnlessSaidSo()
    {
        MemoryRegion ram = _memory.Allocate(4 * Page, isRam: true);
        MemoryRegion frame = _memory.Allocate(2 * Page);
        _memory.Map(0, ram, 0, ram.Length);
        Assert.False(_memory.TryMap(3 * Page, frame));
        Assert.True(_memory.TryMap(4 * Page, frame));
        Assert.Throws<ArgumentException>(() => _memory.AddSlot(5 * Page, Page));
        Assert.Throws<ArgumentOutOfRangeException>(() => _memory.Map(0, frame, Page, 2 * Page));
        Assert.Throws<ArgumentException>(() => _memory.Allocate(64 * Page));
    }

    /// <summary>2,000 random changes, against a model with one entry for each page.</summary>
    [Fact]
    public void TheMapIsWhatAModelSays()
    {
        const int pages = 48;
        var random = new Random(1);
        MemoryRegion[] regions = [.. Enumerable.Range(0, 4).Select(_ => _memory.Allocate(12 * Page))];
        var model = new (MemoryRegion? Region, ulong Offset, bool ReadOnly)[pages];
        for (int step = 0; step < 2000; step++)
        {
            MemoryRegion region = regions[random.Next(regions.Length)];
            ulong count = (ulong)random.Next(1, 12);
            ulong offset = (ulong)random.Next(0, 13 - (int)count);
            ulong start = (ulong)random.Next(0, pages - (int)count + 1);
            bool readOnly = random.Next(2) == 0;
            bool unmap = random.Next(4) == 0;
            if (unmap)
            {
                _memory.Unmap(start * Page, count * Page);
            }
            else
            {
                _memory.Map(start * Page, region, offset * Page, count * Page, readOnly);
            }

            for (ulong i = 0; i < count; i++)
            {
                model[start + i] = unmap ? default : (region, offset + i, readOnly);
            }

            for (ulong page = 0; page < pages; page++)
            {
                MemorySlot? slot = _memory.Find((page * Page) + 5);
                (MemoryRegion? Region, ulong Offset, bool ReadOnly) expected = model[page];
                Assert.Equal(expected.Region, slot?.Region);
                if (slot is not null)
                {
                    ulong inRegion = (ulong)(slot.HostOffset - slot.Region.HostOffset) + (page * Page) - slot.Start;
                    Assert.Equal((expected.Offset * Page, expected.ReadOnly), (inRegion, slot.ReadOnly));
                }
            }
        }
    }
}
