using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>The rings by themselves, with the entropy device behind them.</summary>
public sealed class VirtqueueTests : IDisposable
{
    private readonly VirtioMachine _machine = new();
    private readonly VirtioDriver _driver;
    private readonly VirtioRng _device;
    private string _why = "";

    public VirtqueueTests()
    {
        _device = new VirtioRng(_machine.Memory) { Broken = why => _why = why };
        _driver = _machine.Plug(_device, Transport.PciMsiX);
    }

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_event_index_chooses_the_buffer_that_interrupts(bool packed)
    {
        var ring = Begin(packed, VirtioFeatures.EventIdx, 8);
        for (var round = 0; round < 20; round++)
        {
            ring.InterruptAfter(2);
            for (var i = 0; i < 5; i++)
            {
                ring.Run(Buffer());
                Assert.Equal(i == 2 ? VirtioDriver.QueueVector : 0, _driver.TakeInterrupt());
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Interrupts_stay_away_when_they_are_not_wanted(bool packed)
    {
        var ring = Begin(packed, 0, 8);
        ring.Run(Buffer());
        Assert.Equal(VirtioDriver.QueueVector, _driver.TakeInterrupt());
        ring.DisableInterrupts();
        for (var i = 0; i < 20; i++)
            ring.Run(Buffer());
        Assert.Equal(0, _driver.TakeInterrupt());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Several_buffers_are_one_notification_and_one_interrupt(bool packed)
    {
        var ring = Begin(packed, VirtioFeatures.EventIdx, 8);
        for (var round = 0; round < 10; round++)
        {
            ring.InterruptAfter(0);
            for (var i = 0; i < 8; i++)
                ring.Add(Buffer());
            Assert.True(ring.Kick());
            Assert.False(ring.Kick());
            for (var i = 0; i < 8; i++)
                Assert.True(ring.TryTake(out _, out _));
            Assert.Equal(VirtioDriver.QueueVector, _driver.TakeInterrupt());
            Assert.Equal(0, _driver.TakeInterrupt());
        }
    }

    [Theory]
    [InlineData(5)]
    [InlineData(7)]
    public void A_packed_ring_need_not_be_a_power_of_two(int size)
    {
        var ring = Begin(packed: true, VirtioFeatures.EventIdx, size);
        ring.Indirect = false;
        for (var i = 0; i < 50; i++)
        {
            ring.InterruptAfter(0);
            ring.Run(Buffer(), Buffer(), Buffer());
            Assert.Equal(VirtioDriver.QueueVector, _driver.TakeInterrupt());
        }
    }

    [Fact]
    public void What_a_device_writes_marks_pages_and_reports_code()
    {
        var ring = Begin(packed: false, 0, 8);
        var buffer = _machine.Allocate(8192, 4096);
        _machine.Memory.Write(buffer, new byte[8192]);
        var slot = _machine.Memory.Find(buffer)!;
        var page = (buffer - slot.Start) / 4096;
        SetFlags(slot, page, PageFlags.Code | PageFlags.Clean);
        SetFlags(slot, page + 1, PageFlags.Clean);
        var reports = new List<(ulong, int, bool)>();
        _machine.Memory.CodeWritten = (gpa, length) => reports.Add((gpa, length, _machine.Get(gpa, length).Any(value => value != 0)));
        ring.Run(new Piece(buffer + 100, 64, true), new Piece(buffer + 4096, 64, true));
        Assert.Equal([(buffer + 100, 64, true)], reports);
        Assert.Equal(PageFlags.Code, Flags(slot, page));
        Assert.Equal(PageFlags.None, Flags(slot, page + 1));
    }

    [Fact]
    public void A_buffer_lies_in_ram_and_nowhere_else()
    {
        const ulong end = VirtioMachine.HighRamStart + VirtioMachine.RamSize;
        var ring = Begin(packed: false, 0, 8);
        Assert.Equal(16u, ring.Run(new Piece(end - 16, 16, true)));
        Refuses(new Piece(end - 16, 17, true));
        Refuses(new Piece(VirtioMachine.RomStart - 8, 16, true));
        Refuses(new Piece(VirtioMachine.RomStart, 8, false), Buffer());
        Refuses(new Piece(VirtioMachine.MmioStart, 4, true));
        Refuses(new Piece(ulong.MaxValue - 3, 8, true));
        Refuses(new Piece(VirtioMachine.HighRamStart, 0, true));
        Refuses(Buffer(), new Piece(VirtioMachine.HighRamStart, 8, false));
    }

    [Fact]
    public void A_split_ring_that_lies_breaks_the_device()
    {
        // A loop, a chain that leads beyond the table, a head beyond it.
        Breaks("longer than the queue", ring => ring.WriteDescriptor(0, VirtioMachine.HighRamStart, 8, 3, 0));
        Breaks("beyond the table", ring => ring.WriteDescriptor(0, VirtioMachine.HighRamStart, 8, 3, 8));
        Breaks("beyond the table", ring => _machine.Memory.Write<ushort>(ring.DriverArea + 4, 8));
        Breaks("more buffers", ring => _machine.Memory.Write<ushort>(ring.DriverArea + 2, 9));

        // Indirect tables: nested, chained on, of odd size, empty, outside RAM, with a loop, leading out.
        var table = _machine.Allocate(64);
        const ushort indirect = 4;
        _machine.Memory.Write(table, VirtioMachine.HighRamStart);
        _machine.Memory.Write(table + 8, 8u);
        Breaks("indirect", ring => ring.WriteDescriptor(0, table, 32, indirect | 1, 1));
        Breaks("indirect", ring => ring.WriteDescriptor(0, table, 24, indirect, 0));
        Breaks("indirect", ring => ring.WriteDescriptor(0, table, 0, indirect, 0));
        Breaks("indirect", ring => ring.WriteDescriptor(0, VirtioMachine.MmioStart, 32, indirect, 0));
        Breaks("indirect", ring => ring.WriteDescriptor(0, table, -16, indirect, 0));
        _machine.Memory.Write(table + 12, (ushort)3);
        Breaks("longer than the queue", ring => ring.WriteDescriptor(0, table, 32, indirect, 0));
        _machine.Memory.Write(table + 14, (ushort)2);
        Breaks("beyond the table", ring => ring.WriteDescriptor(0, table, 32, indirect, 0));
        _machine.Memory.Write(table + 12, indirect);
        Breaks("indirect", ring => ring.WriteDescriptor(0, table, 32, indirect, 0));
        Breaks("indirect", ring => ring.WriteDescriptor(0, table, 16, indirect, 0), 0);

        void Breaks(string why, Action<SplitGuestRing> lie, ulong features = VirtioFeatures.IndirectDesc)
        {
            var ring = (SplitGuestRing)Begin(packed: false, features, 8);
            ring.Indirect = false;
            ring.Add(Buffer());
            lie(ring);
            ExpectBroken(ring, why);
        }
    }

    [Fact]
    public void A_packed_ring_that_lies_breaks_the_device()
    {
        const ushort available = 1 << 7;
        const ushort indirect = 4;

        // All descriptors chained on; a table of odd size, chained on, too long, outside RAM.
        Breaks("longer than the queue", ring =>
        {
            for (var i = 0; i < 8; i++)
                ring.WriteDescriptor(i, VirtioMachine.HighRamStart, 8, 0, 3 | available);
        });
        var table = _machine.Allocate(16 * 128);
        Breaks("impossible size", ring => ring.WriteDescriptor(0, table, 17, 0, indirect | available));
        Breaks("impossible size", ring => ring.WriteDescriptor(0, table, 0, 0, indirect | available));
        Breaks("impossible size", ring => ring.WriteDescriptor(0, table, 16 * 128, 0, indirect | available));
        Breaks("not allowed", ring => ring.WriteDescriptor(0, table, 16, 0, indirect | 1 | available));
        Breaks("RAM", ring => ring.WriteDescriptor(0, VirtioMachine.MmioStart, 16, 0, indirect | available));
        Breaks("empty", ring => ring.WriteDescriptor(0, table, 16, 0, indirect | available));
        Breaks("not allowed", ring => ring.WriteDescriptor(0, table, 16, 0, indirect | available), 0);

        void Breaks(string why, Action<PackedGuestRing> lie, ulong features = VirtioFeatures.IndirectDesc)
        {
            var ring = (PackedGuestRing)Begin(packed: true, features, 8);
            ring.Indirect = false;
            lie(ring);
            ExpectBroken(ring, why);
        }
    }

    private static Piece At(ulong address) => new(address, 8, true);

    private static unsafe void SetFlags(MemorySlot slot, ulong page, PageFlags flags) => slot.Flags[page] = flags;

    private static unsafe PageFlags Flags(MemorySlot slot, ulong page) => slot.Flags[page];

    private Piece Buffer() => At(_machine.Allocate(8));

    private GuestRing Begin(bool packed, ulong features, int size) =>
        _driver.Begin(features | (packed ? VirtioFeatures.RingPacked : 0), size)[0];

    private void Refuses(params Piece[] pieces)
    {
        foreach (var packed in (ReadOnlySpan<bool>)[false, true])
        {
            foreach (var features in (ReadOnlySpan<ulong>)[0, VirtioFeatures.IndirectDesc])
            {
                var ring = Begin(packed, features, 16);
                ring.Add(pieces);
                ExpectBroken(ring, "");
            }
        }
    }

    private void ExpectBroken(GuestRing ring, string why)
    {
        _why = "";
        while (_driver.TakeInterrupt() != 0)
        {
        }

        _driver.Notify(0);
        Assert.NotEqual("", _why);
        Assert.Contains(why, _why);
        Assert.NotEqual(0, _driver.Status & VirtioDriver.NeedsReset);
        Assert.Equal(VirtioDriver.ConfigVector, _driver.TakeInterrupt());

        // It says so once, and touches nothing until it is reset.
        var used = _machine.Get(ring.DeviceArea, 4);
        _driver.Notify(0);
        Assert.Equal(0, _driver.TakeInterrupt());
        Assert.Equal(used, _machine.Get(ring.DeviceArea, 4));
        Assert.Equal(8u, _driver.Begin(0, 8)[0].Run(Buffer()));
        _driver.TakeInterrupt();
    }
}
