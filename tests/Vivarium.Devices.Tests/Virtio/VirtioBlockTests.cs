using System.Buffers.Binary;
using System.Text;

namespace Vivarium.Devices.Tests;

public sealed class VirtioBlockTests : IDisposable
{
    private const ulong WriteZeroesBit = 1ul << 14;
    private const ulong DiscardBit = 1ul << 13;
    private const ulong ConfigWce = 1ul << 11;
    private const ulong Flush = 1ul << 9;
    private const ulong ReadOnlyBit = 1ul << 5;

    private const byte Ok = 0;
    private const byte IoError = 1;
    private const byte Unsupported = 2;

    private readonly VirtioMachine _machine = new();
    private readonly MemoryDisk _disk = new(1 << 20);

    public static TheoryData<Transport, bool, bool, bool> Ways()
    {
        var ways = new TheoryData<Transport, bool, bool, bool>();
        foreach (var transport in Enum.GetValues<Transport>())
        {
            for (var i = 0; i < 8; i++)
                ways.Add(transport, (i & 1) != 0, (i & 2) != 0, (i & 4) != 0);
        }

        return ways;
    }

    public void Dispose() => _machine.Dispose();

    [Theory]
    [MemberData(nameof(Ways))]
    public void What_is_written_is_read_back_and_each_request_interrupts(Transport transport, bool packed, bool indirect, bool eventIndex)
    {
        var driver = _machine.Plug(new VirtioBlock(_machine.Memory, _disk), transport);
        var features = (packed ? VirtioFeatures.RingPacked : 0) | (indirect ? VirtioFeatures.IndirectDesc : 0) | (eventIndex ? VirtioFeatures.EventIdx : 0);
        var ring = driver.Begin(features | Flush, 16)[0];
        var random = new Random(1);

        // More often than a 16-bit index wraps in eighths and a packed ring goes round.
        for (var i = 0; i < 100; i++)
        {
            var data = new byte[1024];
            random.NextBytes(data);
            var sector = (ulong)random.Next(2000);
            ring.InterruptAfter(0);
            Assert.Equal(Ok, Request(ring, 1, sector, data));
            Assert.Equal(VirtioDriver.QueueVector, driver.TakeInterrupt());
            ring.InterruptAfter(0);
            var read = Read(ring, sector, 1024);
            Assert.Equal(Ok, read.Status);
            Assert.Equal(data, read.Data);
            Assert.Equal(VirtioDriver.QueueVector, driver.TakeInterrupt());
            Assert.Equal(0, driver.TakeInterrupt());
        }
    }

    [Fact]
    public void Header_data_and_status_may_be_cut_anywhere()
    {
        var ring = Begin(Flush);
        "vivarium"u8.CopyTo(_disk.Bytes.AsSpan(512));
        var header = _machine.Put(Header(0, 1));
        var data = _machine.Allocate(513);
        var pieces = new List<Piece>();
        for (var i = 0; i < 16; i++)
            pieces.Add(new Piece(header + (ulong)i, 1, false));
        pieces.Add(new Piece(data, 3, true));

        // The status byte shares its descriptor with the data's end.
        pieces.Add(new Piece(data + 3, 510, true));
        Assert.Equal(513u, ring.Run([.. pieces]));
        Assert.Equal("vivarium"u8.ToArray(), _machine.Get(data, 8));
        Assert.Equal(Ok, _machine.Get(data + 512, 1)[0]);
    }

    [Fact]
    public void The_configuration_tells_size_and_topology()
    {
        var driver = _machine.Plug(new VirtioBlock(_machine.Memory, _disk, queues: 4), Transport.PciMsiX);
        Assert.Equal(2048u, driver.ReadConfig(0, 4));
        Assert.Equal(254u, driver.ReadConfig(12, 4));
        Assert.Equal(512u, driver.ReadConfig(20, 4));
        Assert.Equal(3u, driver.ReadConfig(24, 1));
        Assert.Equal(4u, driver.ReadConfig(34, 2));
        Assert.Equal(0u, driver.ReadConfig(0x100, 4));
        for (var queue = 0; queue < 4; queue++)
            Assert.Equal(256, driver.QueueSizeMax(queue));
        Assert.Equal(0, driver.QueueSizeMax(4));
    }

    [Fact]
    public void Every_queue_of_several_serves()
    {
        var driver = _machine.Plug(new VirtioBlock(_machine.Memory, _disk, queues: 3), Transport.PciMsiX);
        var rings = driver.Begin(VirtioFeatures.RingPacked | 1ul << 12, 8, 8, 8);
        for (var i = 0; i < rings.Length; i++)
        {
            var data = new byte[512];
            Array.Fill(data, (byte)(i + 1));
            Assert.Equal(Ok, Request(rings[i], 1, (ulong)i, data));
            Assert.Equal(VirtioDriver.QueueVector + i, driver.TakeInterrupt());
            Assert.Equal(i + 1, _disk.Bytes[i * 512]);
        }
    }

    [Fact]
    public void The_serial_number_has_twenty_bytes()
    {
        var ring = Begin(0, new VirtioBlock(_machine.Memory, _disk, "a serial number that is too long"));
        var (status, data) = Read(ring, 0, 20, type: 8);
        Assert.Equal(Ok, status);
        Assert.Equal("a serial number that", Encoding.ASCII.GetString(data));
    }

    [Fact]
    public void Flush_comes_back_when_the_backend_has_flushed()
    {
        var device = new VirtioBlock(_machine.Memory, _disk);
        var driver = _machine.Plug(device, Transport.PciMsiX);
        var ring = driver.Begin(Flush, 16)[0];
        _disk.FlushGate.Reset();
        var status = _machine.Put([0xFF]);
        ring.Add(new Piece(_machine.Put(Header(4, 0)), 16, false), new Piece(status, 1, true));
        ring.Kick();
        Assert.False(ring.TryTake(out _, out _));

        // Meanwhile others are served.
        var data = _machine.Allocate(512);
        var otherStatus = _machine.Put([0xFF]);
        var other = ring.Add(new Piece(_machine.Put(Header(0, 0)), 16, false), new Piece(data, 512, true), new Piece(otherStatus, 1, true));
        driver.Notify(0);
        Assert.True(ring.TryTake(out var id, out _));
        Assert.Equal(other, id);
        Assert.Equal(0xFF, _machine.Get(status, 1)[0]);

        _disk.FlushGate.Set();
        while (!ring.TryTake(out _, out _))
            Thread.Sleep(1);
        Assert.Equal(Ok, _machine.Get(status, 1)[0]);
        Assert.Equal(["flush"], _disk.Log);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Reset_waits_for_requests_in_flight(bool packed)
    {
        var driver = _machine.Plug(new VirtioBlock(_machine.Memory, _disk), Transport.Mmio);
        var ring = driver.Begin(Flush | (packed ? VirtioFeatures.RingPacked : 0), 16)[0];
        _disk.FlushGate.Reset();
        var status = _machine.Put([0xFF]);
        ring.Add(new Piece(_machine.Put(Header(4, 0)), 16, false), new Piece(status, 1, true));
        ring.Kick();
        var reset = new Thread(() => driver.Status = 0);
        reset.Start();
        Assert.False(reset.Join(20));
        _disk.FlushGate.Set();
        reset.Join();
        Assert.Equal(0, driver.Status);

        // The ring is the driver's again: nothing is pushed after the reset.
        Assert.False(ring.TryTake(out _, out _));
        Assert.Equal(Ok, Request(driver.Begin(Flush, 16)[0], 1, 0, new byte[512]));
    }

    [Fact]
    public void Without_flush_every_write_is_flushed_and_with_it_the_cache_can_be_switched()
    {
        Assert.Equal(Ok, Request(Begin(0), 1, 0, new byte[512]));
        Assert.Equal(["flush"], _disk.Log);
        _disk.Log.Clear();

        var driver = _machine.Plug(new VirtioBlock(_machine.Memory, _disk), Transport.PciMsiX);
        var ring = driver.Begin(Flush | ConfigWce, 16)[0];
        Assert.Equal(1u, driver.ReadConfig(32, 1));
        Request(ring, 1, 0, new byte[512]);
        Assert.Empty(_disk.Log);
        driver.WriteConfig(32, 1, 0);
        Request(ring, 1, 0, new byte[512]);
        Assert.Equal(["flush"], _disk.Log);
        driver.Status = 0;
        Assert.Equal(1u, driver.ReadConfig(32, 1));
    }

    [Fact]
    public void Ranges_are_discarded_and_zeroed_when_all_of_them_are_right()
    {
        var ring = Begin(Flush | DiscardBit | WriteZeroesBit);
        Assert.Equal(Ok, Request(ring, 11, 0, [.. Range(8, 8, 0), .. Range(100, 1, 0)]));
        Assert.Equal(Ok, Request(ring, 13, 0, Range(16, 2, 1)));
        Assert.Equal(Ok, Request(ring, 13, 0, Range(2047, 1, 0)));
        string[] done = ["discard 4096 4096", "discard 51200 512", "zero 8192 1024 True", "zero 1048064 512 False"];
        Assert.Equal(done, _disk.Log);

        Assert.Equal(IoError, Request(ring, 13, 0, [.. Range(0, 1, 0), .. Range(2047, 2, 0)]));
        Assert.Equal(IoError, Request(ring, 11, 0, Range(ulong.MaxValue, 2, 0)));
        Assert.Equal(Unsupported, Request(ring, 11, 0, Range(0, 1, 1)));
        Assert.Equal(Unsupported, Request(ring, 13, 0, Range(0, 1, 2)));
        Assert.Equal(Unsupported, Request(ring, 13, 0, [1, 2, 3]));
        Assert.Equal(Unsupported, Request(ring, 13, 0, new byte[17 * 16]));
        Assert.Equal(done, _disk.Log);
    }

    [Fact]
    public void Requests_that_cannot_be_are_answered_not_done()
    {
        var ring = Begin(Flush);
        Assert.Equal(Unsupported, Request(ring, 99, 0, []));
        Assert.Equal(Unsupported, Request(ring, 11, 0, Range(0, 1, 0)));
        Assert.Equal(IoError, Request(ring, 1, 2048, new byte[512]));
        Assert.Equal(IoError, Request(ring, 1, 2047, new byte[1024]));
        Assert.Equal(IoError, Request(ring, 1, ulong.MaxValue, new byte[512]));
        Assert.Equal(IoError, Request(ring, 1, 0, new byte[100]));
        Assert.Equal(IoError, Read(ring, 2048, 512).Status);
        Assert.Equal(Ok, Request(ring, 1, 2047, new byte[512]));
    }

    [Fact]
    public void Blocks_of_4_kib_are_not_written_in_part()
    {
        using var machine = new VirtioMachine();
        var driver = machine.Plug(new VirtioBlock(machine.Memory, new MemoryDisk(1 << 20) { LogicalBlockSize = 4096 }), Transport.PciMsiX);
        Assert.Equal(4096u, driver.ReadConfig(20, 4));
        Assert.Equal(0u, driver.ReadConfig(24, 1));
        var ring = driver.Begin(Flush, 16)[0];
        foreach (var (sector, length, expected) in ((int, int, byte)[])[(0, 4096, Ok), (8, 8192, Ok), (0, 512, IoError), (1, 4096, IoError)])
        {
            var status = machine.Put([0xFF]);
            ring.Run(new Piece(machine.Put(Header(1, (ulong)sector)), 16, false), new Piece(machine.Allocate(length), length, false), new Piece(status, 1, true));
            Assert.Equal(expected, machine.Get(status, 1)[0]);
        }
    }

    [Fact]
    public void A_request_of_4_gib_breaks_the_device()
    {
        var driver = _machine.Plug(new VirtioBlock(_machine.Memory, _disk), Transport.PciMsiX);
        var ring = driver.Begin(Flush | VirtioFeatures.IndirectDesc, 256)[0];
        var all = new Piece(VirtioMachine.HighRamStart, (int)VirtioMachine.RamSize, true);
        ring.Add([.. Enumerable.Repeat(all, 256)]);
        driver.Notify(0);
        Assert.NotEqual(0, driver.Status & VirtioDriver.NeedsReset);
    }

    [Fact]
    public void A_read_only_disk_says_so_and_refuses_writes()
    {
        var disk = new MemoryDisk(1 << 20) { ReadOnly = true };
        var driver = _machine.Plug(new VirtioBlock(_machine.Memory, disk), Transport.PciMsiX);
        Assert.Equal(ReadOnlyBit, driver.DeviceFeatures & (ReadOnlyBit | DiscardBit | WriteZeroesBit));
        var ring = driver.Begin(ReadOnlyBit, 16)[0];
        Assert.Equal(IoError, Request(ring, 1, 0, new byte[512]));
        Assert.Equal(Ok, Read(ring, 0, 512).Status);
    }

    [Fact]
    public void A_failure_of_the_host_is_an_io_error_for_the_guest_and_a_message_for_the_user()
    {
        var messages = new List<string>();
        var ring = Begin(Flush, new VirtioBlock(_machine.Memory, _disk) { Failed = messages.Add });
        _disk.Failure = new IOException("no space left on the host's disk");
        Assert.Equal(IoError, Request(ring, 1, 0, new byte[512]));
        Assert.Equal(IoError, Read(ring, 0, 512).Status);
        var status = _machine.Put([0xFF]);
        ring.RunLater(new Piece(_machine.Put(Header(4, 0)), 16, false), new Piece(status, 1, true));
        Assert.Equal(IoError, _machine.Get(status, 1)[0]);
        Assert.Equal(3, messages.Count);
        Assert.All(messages, message => Assert.Equal("no space left on the host's disk", message));
        _disk.Failure = null;
        Assert.Equal(Ok, Request(ring, 1, 0, new byte[512]));
    }

    [Fact]
    public void A_request_without_header_or_status_breaks_the_device()
    {
        var driver = _machine.Plug(new VirtioBlock(_machine.Memory, _disk), Transport.PciMsiX);
        var ring = driver.Begin(Flush, 16)[0];
        ring.Add(new Piece(_machine.Put(Header(0, 0)), 15, false), new Piece(_machine.Allocate(512), 512, true));
        ring.Kick();
        Assert.NotEqual(0, driver.Status & VirtioDriver.NeedsReset);
        Assert.Equal(VirtioDriver.ConfigVector, driver.TakeInterrupt());
        Assert.False(ring.TryTake(out _, out _));

        ring = driver.Begin(Flush, 16)[0];
        ring.Add(new Piece(_machine.Put(Header(4, 0)), 16, false));
        ring.Kick();
        Assert.NotEqual(0, driver.Status & VirtioDriver.NeedsReset);
        Assert.Equal(Ok, Request(driver.Begin(Flush, 16)[0], 1, 0, new byte[512]));
    }

    [Fact]
    public void A_new_capacity_is_told()
    {
        var device = new VirtioBlock(_machine.Memory, _disk);
        var driver = _machine.Plug(device, Transport.PciMsiX);
        driver.Begin(Flush, 16);
        var generation = driver.ConfigGeneration;
        _disk.Length /= 2;
        device.CapacityChanged();
        Assert.Equal(1024u, driver.ReadConfig(0, 4));
        Assert.NotEqual(generation, driver.ConfigGeneration);
        Assert.Equal(VirtioDriver.ConfigVector, driver.TakeInterrupt());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_state_moves_to_another_device_in_the_middle_of_a_ring(bool packed)
    {
        var device = new VirtioBlock(_machine.Memory, _disk);
        var driver = (PciDriver)_machine.Plug(device, Transport.PciMsiX);
        var ring = driver.Begin(Flush | (packed ? VirtioFeatures.RingPacked : 0), 4)[0];
        for (var i = 0; i < 7; i++)
            Request(ring, 1, 0, new byte[512]);
        var (state, transport) = (device.Save(), driver.Transport.Save());

        // The next device is another card with the same guest memory; the driver does not notice.
        device.Dispose();
        var twin = new VirtioBlock(_machine.Memory, _disk);
        var twinTransport = new VirtioPciTransport(twin, "twin");
        _machine.Pci.Attach(twinTransport.Function);
        _machine.WritePci(driver.Device, 4, 2, 0);
        twin.Restore(state);
        twinTransport.Restore(transport);
        Assert.Equal(transport.QueueVectors, twinTransport.Save().QueueVectors);
        while (driver.TakeInterrupt() != 0)
        {
        }

        Assert.Equal(Ok, Request(ring, 1, 1, [.. Enumerable.Repeat((byte)7, 512)]));
        Assert.Equal(7, _disk.Bytes[512]);
        Assert.Equal(VirtioDriver.QueueVector, driver.TakeInterrupt());
        Assert.Throws<InvalidDataException>(() => twin.Restore(state with { Device = state.Device! with { Queues = [] } }));
        Assert.Throws<InvalidDataException>(() => twin.Restore(state with
        {
            Device = state.Device! with { Queues = [state.Device.Queues[0] with { DescriptorArea = 1ul << 40 }] },
        }));
        twin.Dispose();
    }

    private static byte[] Header(uint type, ulong sector)
    {
        var header = new byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), sector);
        return header;
    }

    private static byte[] Range(ulong sector, uint count, uint flags)
    {
        var range = new byte[16];
        BinaryPrimitives.WriteUInt64LittleEndian(range, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(8), count);
        BinaryPrimitives.WriteUInt32LittleEndian(range.AsSpan(12), flags);
        return range;
    }

    private GuestRing Begin(ulong features, VirtioBlock? device = null) =>
        _machine.Plug(device ?? new VirtioBlock(_machine.Memory, _disk), Transport.PciMsiX).Begin(features, 64)[0];

    /// <summary>A request that carries data to the device.</summary>
    private byte Request(GuestRing ring, uint type, ulong sector, byte[] data)
    {
        var status = _machine.Put([0xFF]);
        var header = new Piece(_machine.Put(Header(type, sector)), 16, false);
        var written = data.Length == 0
            ? ring.Run(header, new Piece(status, 1, true))
            : ring.Run(header, new Piece(_machine.Put(data), data.Length, false), new Piece(status, 1, true));
        Assert.Equal(1u, written);
        return _machine.Get(status, 1)[0];
    }

    private (byte Status, byte[] Data) Read(GuestRing ring, ulong sector, int length, uint type = 0)
    {
        var status = _machine.Put([0xFF]);
        var data = _machine.Allocate(length);
        var written = ring.Run(new Piece(_machine.Put(Header(type, sector)), 16, false), new Piece(data, length, true), new Piece(status, 1, true));
        Assert.Equal((uint)length + 1, written);
        return (_machine.Get(status, 1)[0], _machine.Get(data, length));
    }
}
