using System.Buffers.Binary;
using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>The balloon with a driver: what goes back to the host, and what does not.</summary>
public sealed class VirtioBalloonTests : IDisposable
{
    private const ulong Page = GuestMemory.PageSize;

    // Feature bits (5.5.3).
    private const ulong Stats = 1 << 1;
    private const ulong Hint = 1 << 3;
    private const ulong Poison = 1 << 4;
    private const ulong Reporting = 1 << 5;

    // Queues, all features agreed on (5.5.2).
    private const int Inflate = 0;
    private const int Deflate = 1;
    private const int Statistics = 2;
    private const int Hints = 3;
    private const int Reports = 4;

    private readonly VirtioMachine _machine = new();
    private readonly VirtioBalloon _balloon;

    public VirtioBalloonTests() => _balloon = new(_machine.Memory);

    public static TheoryData<Transport, bool> Ways() => new()
    {
        { Transport.PciMsiX, false },
        { Transport.PciIntX, true },
        { Transport.Mmio, false },
    };

    public void Dispose() => _machine.Dispose();

    [Theory]
    [MemberData(nameof(Ways))]
    public void Pages_in_the_balloon_go_back_to_the_host(Transport transport, bool packed)
    {
        var (driver, rings) = Begin(transport, packed ? VirtioFeatures.RingPacked : 0);
        var pages = Fill(8);

        // Not in order, one of them twice, and among them what is no RAM.
        var first = (uint)(pages >> GuestMemory.PageShift);
        uint[] numbers = [first + 5, first + 1, 0xFFFF_FFFF, first + 2, first + 1, (uint)(VirtioMachine.RomStart >> 12), 0x000D_0000, first + 3];
        var list = PutNumbers(numbers);
        var before = _machine.Memory.HostBytes;
        Assert.Equal(0u, rings[Inflate].Run(list));
        Assert.Equal(before - 4 * Page, _machine.Memory.HostBytes);
        Assert.Equal(4 * Page, _balloon.Inflated);
        Assert.Equal([true, false, false, false, true, false, true, true], AreFull(pages, 8));

        // The guest takes them back, and they are memory again.
        rings[Deflate].Run(PutNumbers(numbers));
        Assert.Equal([true, false, false, false, true, false, true, true], AreFull(pages, 8));
        _machine.Memory.Write(pages + Page, 7);
        Assert.Equal(7, _machine.Memory.Read<int>(pages + Page));
        Assert.Equal(0, driver.Status & VirtioDriver.NeedsReset);
    }

    [Fact]
    public unsafe void Pages_that_go_count_as_written()
    {
        var (_, rings) = Begin();
        var pages = Fill(4);
        var slot = _machine.Memory.Find(pages)!;
        var flags = new Span<PageFlags>(slot.Flags + ((pages - slot.Start) >> GuestMemory.PageShift), 4);
        flags.Fill(PageFlags.Clean);
        flags[1] |= PageFlags.Code;
        var code = new List<(ulong, int)>();
        _machine.Memory.CodeWritten = (gpa, length) => code.Add((gpa, length));
        var first = (uint)(pages >> GuestMemory.PageShift);
        rings[Inflate].Run(PutNumbers(first + 1, first + 2));
        Assert.Equal([PageFlags.Clean, PageFlags.Code, PageFlags.None, PageFlags.Clean], flags.ToArray());
        Assert.Equal([(pages + Page, (int)(2 * Page))], code);
        _machine.Memory.CodeWritten = null;
    }

    [Fact]
    public void A_greedy_list_is_read_in_part()
    {
        var (_, rings) = Begin();
        var pages = Fill(1);
        var list = new uint[100_000];
        Array.Fill(list, 0xFFFF_FFFFu);
        list[^1] = (uint)(pages >> GuestMemory.PageShift);
        rings[Inflate].Run(PutNumbers(list));
        Assert.Equal([true], AreFull(pages, 1));
        rings[Inflate].Run(PutNumbers(list[^1]));
        Assert.Equal([false], AreFull(pages, 1));

        // Half a number is none.
        rings[Inflate].Run(new Piece(PutNumbers(list[^1]).Address, 3, false));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void The_driver_is_told_the_target_and_tells_what_it_has(Transport transport, bool packed)
    {
        var (driver, _) = Begin(transport, packed ? VirtioFeatures.RingPacked : 0);
        var generation = driver.ConfigGeneration;
        _balloon.Target = 5 << 20;
        Assert.Equal(VirtioDriver.ConfigVector, driver.TakeInterrupt());
        Assert.NotEqual(generation, driver.ConfigGeneration);
        Assert.Equal(5u << 8, driver.ReadConfig(0, 4));
        driver.WriteConfig(4, 4, 3 << 8);
        Assert.Equal(3ul << 20, _balloon.Actual);

        // What is not the driver's to write stays.
        driver.WriteConfig(0, 4, 1);
        driver.WriteConfig(8, 4, 5);
        Assert.Equal(5ul << 20, _balloon.Target);
        Assert.Equal(1u, driver.ReadConfig(8, 4));

        // The next driver has an empty balloon and the same target.
        driver.Status = 0;
        Assert.Equal((5ul << 20, 0ul), (_balloon.Target, _balloon.Actual));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Figures_are_asked_for_and_told(Transport transport, bool packed)
    {
        var changes = 0;
        _balloon.Changed += () => changes++;
        var driver = _machine.Plug(_balloon, transport);
        Assert.False(_balloon.RequestStatistics());
        Assert.True(driver.Negotiate(Stats | VirtioFeatures.Version1 | (packed ? VirtioFeatures.RingPacked : 0)));
        var ring = Enumerable.Range(0, 3).Select(queue => driver.AddQueue(queue, 8)).Last();

        // As Linux does, before DRIVER_OK and without a notification afterwards.
        var figures = PutFigures((5, 1000), (4, 600), (99, 1), (9, 3));
        ring.Add(figures);
        changes = 0;
        driver.Start();
        Assert.Equal(1, changes);
        Assert.Equal(new BalloonGuestStatistics { Total = 1000, Free = 600, HugePageFailures = 3 }, _balloon.Statistics);
        Assert.False(ring.TryTake(out _, out _));

        Assert.True(_balloon.RequestStatistics());
        Assert.True(ring.TryTake(out _, out var written));
        Assert.Equal(0u, written);

        // Until it comes again there is nothing to ask with.
        Assert.False(_balloon.RequestStatistics());
        ring.Add(PutFigures((6, 5), (0, 1), (1, 2), (2, 3), (3, 4), (7, 6), (8, 7)));
        Assert.True(ring.Kick());
        Assert.Equal(new() { Available = 5, SwapIn = 1, SwapOut = 2, MajorFaults = 3, MinorFaults = 4, Caches = 6, HugePageAllocations = 7 }, _balloon.Statistics);
        Assert.Equal(2, changes);

        // A second buffer, which should not be, gives the first one back.
        ring.Add(PutFigures((4, 8)));
        Assert.True(ring.Kick());
        Assert.True(ring.TryTake(out _, out _));
        Assert.Equal(new BalloonGuestStatistics { Free = 8 }, _balloon.Statistics);
        driver.Status = 0;
        Assert.Null(_balloon.Statistics);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Reported_pages_go_back_to_the_host(Transport transport, bool packed)
    {
        var (_, rings) = Begin(transport, packed ? VirtioFeatures.RingPacked : 0);
        var pages = Fill(10);
        var before = _machine.Memory.HostBytes;

        // Of the second piece only the two whole pages in its middle.
        rings[Reports].Run(new Piece(pages, (int)Page, true), new Piece(pages + 2 * Page + 1, (int)(4 * Page) - 2, true), new Piece(pages + 9 * Page, 100, true));
        Assert.Equal(before - 3 * Page, _machine.Memory.HostBytes);
        Assert.Equal([false, true, true, false, false, true, true, true, true, true], AreFull(pages, 10));
        Assert.Equal(3 * Page, _balloon.Reported);
    }

    [Fact]
    public void Pages_that_hold_a_value_of_the_guest_keep_it()
    {
        var driver = _machine.Plug(_balloon, Transport.PciMsiX);
        Assert.True(driver.Negotiate(VirtioFeatures.Version1 | Poison | Reporting));
        var rings = Enumerable.Range(0, 3).Select(queue => driver.AddQueue(queue, 8)).ToArray();
        driver.WriteConfig(12, 4, 0xAAAA_AAAA);
        driver.Start();
        var pages = Fill(2);

        // Without figures and hints, reports have the third queue.
        rings[2].Run(new Piece(pages, (int)Page, true));
        Assert.Equal([true, true], AreFull(pages, 2));
        rings[Inflate].Run(PutNumbers((uint)(pages >> GuestMemory.PageShift)));
        Assert.Equal([false, true], AreFull(pages, 2));

        // The value is forgotten with the driver, and zero is what reads as zero.
        var again = driver.Begin(Poison | Reporting, 8, 8, 8);
        again[2].Run(new Piece(pages + Page, (int)Page, true));
        Assert.Equal([false, false], AreFull(pages, 2));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void Hints_are_taken_when_they_were_asked_for(Transport transport, bool packed)
    {
        var (driver, rings) = Begin(transport, packed ? VirtioFeatures.RingPacked : 0);
        var pages = Fill(6);
        void Hinted(int page) => rings[Hints].Run(new Piece(pages + (ulong)page * Page, (int)Page, true));
        void Command(uint id) => rings[Hints].Run(PutNumbers(id));

        // Nobody has asked.
        Hinted(0);
        Command(driver.ReadConfig(8, 4));
        Hinted(0);
        Assert.True(_balloon.RequestHints());
        Assert.True(_balloon.IsHinting);
        var vectors = new[] { driver.TakeInterrupt(), driver.TakeInterrupt(), driver.TakeInterrupt() };
        Assert.Contains(vectors, vector => vector is VirtioDriver.ConfigVector or VirtioDriver.QueueVector);
        var id = driver.ReadConfig(8, 4);
        Assert.True(id >= 2);

        // Not yet begun, or for another request.
        Hinted(0);
        Command(id + 1);
        Hinted(0);
        Command(0);
        Assert.True(_balloon.IsHinting);
        Assert.True(AreFull(pages, 1)[0]);
        Command(id);
        Hinted(1);
        Hinted(3);
        Assert.Equal([true, false, true, false, true, true], AreFull(pages, 6));
        Assert.Equal(2 * Page, _balloon.Hinted);

        // The end: the guest may have its pages again, and what comes late is no hint.
        var ended = false;
        _balloon.Changed += () => ended = true;
        Command(0);
        Assert.True(ended);
        Assert.False(_balloon.IsHinting);
        Assert.Equal(1u, driver.ReadConfig(8, 4));
        Hinted(4);
        Assert.True(AreFull(pages, 6)[4]);

        Assert.True(_balloon.RequestHints());
        Assert.NotEqual(id, driver.ReadConfig(8, 4));
        driver.Status = 0;
        Assert.False(_balloon.IsHinting);
        Assert.False(_balloon.RequestHints());
    }

    [Fact]
    public void State_is_saved_and_restored()
    {
        var (driver, rings) = Begin();
        _balloon.Target = 3 << 20;
        driver.WriteConfig(4, 4, 2 << 8);
        driver.WriteConfig(12, 4, 0x55);
        Assert.True(_balloon.RequestHints());
        rings[Statistics].Add(PutFigures((4, 8)));
        rings[Statistics].Kick();
        var state = _balloon.Save();

        // It goes on as before.
        Assert.True(_balloon.RequestStatistics());
        Assert.True(rings[Statistics].TryTake(out _, out _));
        rings[Statistics].Add(PutFigures((4, 9)));
        rings[Statistics].Kick();
        state = _balloon.Save();
        driver.Status = 0;
        _balloon.Target = 0;
        _balloon.Restore(state);
        Assert.Equal((3ul << 20, 2ul << 20, true), (_balloon.Target, _balloon.Actual, _balloon.IsHinting));
        Assert.Equal(0x55u, driver.ReadConfig(12, 4));
        Assert.Equal(9ul, _balloon.Statistics!.Free);
        Assert.True(_balloon.RequestStatistics());
        Assert.True(rings[Statistics].TryTake(out _, out _));
        Assert.Throws<InvalidDataException>(() => _balloon.Restore(state with { HintCommand = 9 }));
        Assert.Throws<InvalidDataException>(() => _balloon.Restore(state with { Version = 2 }));
    }

    private (VirtioDriver Driver, GuestRing[] Rings) Begin(Transport transport = Transport.PciMsiX, ulong features = 0)
    {
        var driver = _machine.Plug(_balloon, transport);
        return (driver, driver.Begin(Stats | Hint | Poison | Reporting | features, 8, 8, 8, 8, 8));
    }

    /// <summary>Pages with something in them.</summary>
    private ulong Fill(int count)
    {
        var pages = _machine.Allocate(count * (int)Page, (int)Page);
        var bytes = new byte[count * (int)Page];
        Array.Fill(bytes, (byte)0xAA);
        _machine.Memory.Write(pages, bytes);
        return pages;
    }

    /// <summary>Which pages hold still what <see cref="Fill"/> wrote, and which nothing at all.</summary>
    private bool[] AreFull(ulong pages, int count) =>
    [
        .. Enumerable.Range(0, count).Select(i =>
        {
            var page = _machine.Get(pages + (ulong)i * Page, (int)Page);
            Assert.True(page.All(value => value == page[0]));
            Assert.True(page[0] is 0 or 0xAA);
            return page[0] != 0;
        }),
    ];

    private Piece PutNumbers(params uint[] numbers)
    {
        var bytes = new byte[numbers.Length * sizeof(uint)];
        Buffer.BlockCopy(numbers, 0, bytes, 0, bytes.Length);
        return new(_machine.Put(bytes), bytes.Length, false);
    }

    private Piece PutFigures(params (ushort Tag, ulong Value)[] figures)
    {
        var bytes = new byte[figures.Length * 10];
        for (var i = 0; i < figures.Length; i++)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(i * 10), figures[i].Tag);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(i * 10 + 2), figures[i].Value);
        }

        return new(_machine.Put(bytes), bytes.Length, false);
    }
}
