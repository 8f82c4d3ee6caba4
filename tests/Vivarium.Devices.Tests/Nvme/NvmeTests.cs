using System.Buffers.Binary;
using System.Text;

namespace Vivarium.Devices.Tests;

/// <summary>An NVMe controller driven as NVM Express 1.4 says.</summary>
public sealed class NvmeTests : IDisposable
{
    private const int Sectors = 8192;
    private const int Entries = 8;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly VirtioMachine _machine = new();
    private readonly MemoryDisk _disk = new(Sectors * 512);
    private readonly NvmeController _nvme;
    private readonly int _device;
    private readonly ulong _bar;
    private readonly Ring[] _rings = new Ring[3];
    private readonly ulong _page;
    private ushort _id;

    private sealed class Ring
    {
        public ulong Submissions, Completions;
        public uint Tail, Head;
        public bool Phase = true;
    }

    public NvmeTests()
    {
        IdeMachine.Pattern(_disk.Bytes.Length).CopyTo(_disk.Bytes, 0);
        _nvme = new NvmeController(_machine.Memory, _disk, "SN1");
        _device = _machine.Pci.Attach(_nvme.Function);
        _machine.WritePci(_device, 4, 2, 6);
        _bar = _machine.ReadPci(_device, 0x10, 4) & ~0xFu;
        _page = _machine.Allocate(0x1000, 0x1000);
        Enable();
    }

    public void Dispose()
    {
        _disk.FlushGate.Set();
        _nvme.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void The_controller_says_what_it_is()
    {
        Assert.Equal(0x0108_02u, _machine.ReadPci(_device, 8, 4) >> 8);
        Assert.Equal(0x0001_0400u, Read(8));
        Assert.Equal(1023u | 1 << 16, Read(0) & 0x1FFFF);
        Assert.Equal(0, Admin(0x06, dword10: 1, prp1: _page));
        var data = _machine.Get(_page, 4096);
        Assert.Equal("SN1", Encoding.ASCII.GetString(data, 4, 20).TrimEnd());
        Assert.Equal("NVME DISK", Encoding.ASCII.GetString(data, 24, 40).TrimEnd());
        Assert.Equal([0x66, 0x44], data[512..514]);
        Assert.Equal(0, Admin(0x06, dword10: 0, prp1: _page, ns: 1));
        Assert.Equal((ulong)Sectors, BinaryPrimitives.ReadUInt64LittleEndian(_machine.Get(_page, 8)));
        Assert.Equal(9, _machine.Get(_page + 130, 1)[0]);
        Assert.Equal(0, Admin(0x06, dword10: 2, prp1: _page));
        Assert.Equal([1, 0, 0, 0, 0], _machine.Get(_page, 5));
        Assert.Equal(0, Admin(0x06, dword10: 3, prp1: _page, ns: 1));
        Assert.Equal([3, 16, 0, 0], _machine.Get(_page, 4));
        Assert.Equal(0x00B, Admin(0x06, dword10: 0, prp1: _page, ns: 2));
        Assert.Equal(0x002, Admin(0x06, dword10: 0x77, prp1: _page));
        Assert.Equal(0x001, Admin(0x7F));
    }

    [Fact]
    public void Queues_are_made_and_taken_away()
    {
        var address = _machine.Allocate(0x1000, 0x1000);
        Assert.Equal(0x101, Admin(0x05, dword10: 7 << 16, dword11: 1, prp1: address));
        Assert.Equal(0x101, Admin(0x05, dword10: 7 << 16 | 65, dword11: 1, prp1: address));
        Assert.Equal(0x102, Admin(0x05, dword10: 1, dword11: 1, prp1: address));
        Assert.Equal(0x102, Admin(0x05, dword10: 1024u << 16 | 1, dword11: 1, prp1: address));
        Assert.Equal(0x002, Admin(0x05, dword10: 7 << 16 | 1, dword11: 0, prp1: address));
        Assert.Equal(0x108, Admin(0x05, dword10: 7 << 16 | 1, dword11: 65u << 16 | 1, prp1: address));
        Assert.Equal(0x013, Admin(0x05, dword10: 7 << 16 | 1, dword11: 1, prp1: address + 4));
        Assert.Equal(0x100, Admin(0x01, dword10: 7 << 16 | 1, dword11: 1 << 16 | 1, prp1: address));
        MakeQueue(1);
        Assert.Equal(0x10C, Admin(0x04, dword10: 1));
        Assert.Equal(0, Admin(0x00, dword10: 1));
        Assert.Equal(0, Admin(0x04, dword10: 1));
        Assert.Equal(0x101, Admin(0x00, dword10: 1));
        Assert.Equal((0, 0x003F_003Fu), AdminResult(0x09, dword10: 7, dword11: 0x00FF_00FF));
        Assert.Equal((0, 0x0003_0001u), AdminResult(0x09, dword10: 7, dword11: 0x0003_0001));
    }

    [Theory]
    [InlineData(0, 8)]
    [InlineData(0x200, 8)]
    [InlineData(0, 16)]
    [InlineData(0x400, 30)]
    [InlineData(0x800, 2048)]
    public void Data_go_through_pages_and_lists(int offset, int blocks)
    {
        MakeQueue(1);
        var (prp1, prp2, pages) = Buffer(offset, blocks * 512);
        Assert.Equal(0, Io(0x02, lba: 100, blocks, prp1, prp2));
        Assert.Equal(_disk.Bytes.AsSpan(100 * 512, blocks * 512).ToArray(), Gather(pages, offset, blocks * 512));
        Assert.Equal(0, Io(0x01, lba: 4000, blocks, prp1, prp2));
        Assert.Equal(_disk.Bytes.AsSpan(100 * 512, blocks * 512).ToArray(), _disk.Bytes.AsSpan(4000 * 512, blocks * 512).ToArray());
    }

    [Fact]
    public void Bad_commands_fail_each_in_its_way()
    {
        MakeQueue(1);
        Assert.Equal(0x080, Io(0x02, Sectors - 1, 2, _page, 0));
        Assert.Equal(0x080, Io(0x02, ulong.MaxValue, 1, _page, 0));
        Assert.Equal(0x013, Io(0x02, 0, 1, _page + 2, 0));
        Assert.Equal(0x013, Io(0x02, 0, 16, _page, _page + 8));
        Assert.Equal(0x004, Io(0x02, 0, 1, 0xE000_0000, 0));
        Assert.Equal(0x004, Io(0x02, 0, 1, VirtioMachine.RomStart, 0));
        Assert.Equal(0x004, Io(0x02, 0, 64, _page, 0xFFFF_FFFF_FFFF_F000));
        Assert.Equal(0x002, Io(0x02, 0, 4096, _page, _page));
        Assert.Equal(0x00B, Io(0x02, 0, 1, _page, 0, ns: 2));
        Assert.Equal(0x001, Io(0x05, 0, 1, _page, 0));
        _disk.Failure = new IOException("no more");
        Assert.Equal(0x281, Io(0x02, 0, 1, _page, 0));
        Assert.Equal(0x280, Io(0x01, 0, 1, _page, 0));

        // The last is on top of the error log.
        _disk.Failure = null;
        Assert.Equal(0, Admin(0x02, dword10: 15u << 16 | 1, prp1: _page));
        Assert.Equal(0x280 << 1, _machine.Memory.Read<ushort>(_page + 12));
        Assert.Equal(0x109, Admin(0x02, dword10: 15u << 16 | 0x77, prp1: _page));
    }

    [Fact]
    public void Flush_waits_on_another_thread_and_the_queue_goes_on()
    {
        MakeQueue(1);
        _disk.FlushGate.Reset();
        var flush = Submit(1, 0x00, 1, 0, 0, 0, 0, 0);
        var read = Submit(1, 0x02, 1, _page, 0, 5, 0, 0);
        var first = WaitFor(1);
        Assert.Equal(read, first.Id);
        _disk.FlushGate.Set();
        Assert.Equal(flush, WaitFor(1).Id);
        Assert.Contains("flush", _disk.Log);

        // Force unit access flushes, and so does each write without the cache.
        _disk.Log.Clear();
        _ = Submit(1, 0x01, 1, _page, 0, 5, 0, 1u << 30);
        Assert.Equal(0, WaitFor(1).Status);
        Assert.Equal(["flush"], _disk.Log);
        Assert.Equal(0, Admin(0x09, dword10: 6, dword11: 0));
        _disk.Log.Clear();
        Assert.Equal(0, Io(0x01, 5, 1, _page, 0));
        Assert.Equal(["flush"], _disk.Log);
    }

    [Fact]
    public void Blocks_are_zeroed_and_deallocated()
    {
        MakeQueue(1);
        Assert.Equal(0, Io(0x08, 10, 4, 0, 0));
        Assert.Equal(new byte[4 * 512], _disk.Bytes.AsSpan(10 * 512, 4 * 512).ToArray());
        var ranges = new byte[32];
        ranges[4] = 8;
        ranges[8] = 100;
        ranges[20] = 1;
        ranges[24] = 200;
        _machine.Memory.Write(_page, ranges);
        _disk.Log.Clear();
        _ = Submit(1, 0x09, 1, _page, 0, 1, 4, 0);
        Assert.Equal(0, WaitFor(1).Status);
        Assert.Equal(["discard 51200 4096", "discard 102400 512"], _disk.Log);
    }

    [Fact]
    public void Events_tell_of_wrong_doorbells()
    {
        var request = Submit(0, 0x0C, 0, 0, 0, 0, 0, 0);
        Doorbell(5, 1);
        var (id, status, result) = WaitFor(0);
        Assert.Equal((request, 0, 1u << 16), (id, status, result));

        // Until the log page has been read there is no other.
        request = Submit(0, 0x0C, 0, 0, 0, 0, 0, 0);
        Doorbell(0, 500);
        Assert.Equal(0, Admin(0x02, dword10: 15u << 16 | 1, prp1: _page));
        Doorbell(0, 500);
        Assert.Equal((request, 0, 1u << 16 | 1u << 8), WaitFor(0));
        for (var i = 0; i < 4; i++)
            _ = Submit(0, 0x0C, 0, 0, 0, 0, 0, 0);
        _ = Submit(0, 0x0C, 0, 0, 0, 0, 0, 0);
        Assert.Equal(0x105, WaitFor(0).Status);
    }

    [Fact]
    public void Completions_wait_for_room()
    {
        MakeQueue(1);
        for (var i = 0; i < Entries - 1; i++)
            _ = Submit(1, 0x02, 1, _page, 0, (uint)i, 0, 0);
        var ring = _rings[1];

        // The ring of completions is full; a further command is fetched when the guest has taken one.
        var last = Submit(1, 0x02, 1, _page, 0, 99, 0, 0);
        for (var i = 0; i < Entries; i++)
            Assert.Equal(0, WaitFor(1).Status);
        Assert.Equal(last, (ushort)(_id - 1));
        Assert.Equal(0u, ring.Head);
    }

    [Fact]
    public void A_reset_forgets_everything_and_shutdown_flushes()
    {
        MakeQueue(1);
        Write(0x14, 0x0046_4001);
        Assert.True(SpinWait.SpinUntil(() => (Read(0x1C) >> 2 & 3) == 2, s_patience));
        Assert.Contains("flush", _disk.Log);
        Write(0x14, 0x0046_0000);
        Assert.Equal(0u, Read(0x1C));
        Enable();
        Assert.Equal(0x101, Admin(0x00, dword10: 1));
        Write(0x14, 0);
        Write(0x24, 0);
        Write(0x14, 1);
        Assert.Equal(2u, Read(0x1C) & 2);
    }

    [Fact]
    public void State_is_kept()
    {
        MakeQueue(1);
        Assert.Equal(0, Io(0x02, 7, 1, _page, 0));
        _nvme.Restore(_nvme.Save());
        Assert.Equal(0, Io(0x02, 8, 1, _page, 0));
        Assert.Equal(_disk.Bytes.AsSpan(8 * 512, 512).ToArray(), _machine.Get(_page, 512));
    }

    [Fact]
    public void Commands_and_registers_of_60_000_random_kinds_do_no_harm()
    {
        var random = new Random(51);
        var rom = _machine.Get(VirtioMachine.RomStart, 0x1000);
        MakeQueue(1);
        for (var i = 0; i < 60_000; i++)
        {
            var queue = random.Next(2);
            var ring = _rings[queue];
            var entry = new byte[64];
            random.NextBytes(entry);
            entry[0] = (byte)(random.Next(8) == 0 ? entry[0] : random.Next(0x0E));
            entry[1] = (byte)(random.Next(8) == 0 ? entry[1] : 0);
            BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(4), random.Next(8) == 0 ? (uint)random.Next() : 1);
            BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(24), RandomAddress(random));
            BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(32), RandomAddress(random));
            for (var j = 40; j < 64; j++)
                entry[j] = random.Next(3) == 0 ? entry[j] : (byte)random.Next(3);
            _machine.Memory.Write(ring.Submissions + ring.Tail * 64, entry);
            ring.Tail = (ring.Tail + 1) % Entries;
            Doorbell(queue * 2, random.Next(32) == 0 ? (uint)random.Next() : ring.Tail);
            Doorbell(queue * 2 + 1, random.Next(32) == 0 ? (uint)random.Next(Entries) : ring.Head = (ring.Head + 1) % Entries);
            if (random.Next(64) == 0)
            {
                var register = (ulong)random.Next(0x40) & ~3ul;
                Write(register, (uint)random.Next());
                _machine.Board.Mmio.Read(_bar + (ulong)random.Next(0x1300), 1 << random.Next(4));
            }

            if (random.Next(256) == 0)
            {
                Enable();
                MakeQueue(1);
            }
        }

        Assert.Equal(rom, _machine.Get(VirtioMachine.RomStart, 0x1000));
        Enable();
        MakeQueue(1);
        Assert.Equal(0, Io(0x02, 8, 1, _page, 0));
        Assert.Equal(_disk.Bytes.AsSpan(8 * 512, 512).ToArray(), _machine.Get(_page, 512));
    }

    private static ulong RandomAddress(Random random) => random.Next(8) switch
    {
        0 => (ulong)random.NextInt64(),
        1 => VirtioMachine.RomStart - (ulong)random.Next(0x1000),
        2 => VirtioMachine.HighRamStart + VirtioMachine.RamSize - (ulong)random.Next(0x2000),
        3 => VirtioMachine.HighRamStart + 0x80_0000 + ((ulong)random.Next(0x40_0000) & ~3ul),
        _ => VirtioMachine.HighRamStart + 0x80_0000 + ((ulong)random.Next(0x40_0000) & ~0xFFFul),
    };

    private void Enable()
    {
        Write(0x14, 0);
        Assert.True(SpinWait.SpinUntil(() => (Read(0x1C) & 1) == 0, s_patience));
        var ring = _rings[0] = MakeRing(0);
        Write(0x24, (Entries - 1) << 16 | Entries - 1);
        Write(0x28, (uint)ring.Submissions);
        Write(0x2C, 0);
        Write(0x30, (uint)ring.Completions);
        Write(0x34, 0);
        Write(0x14, 0x0046_0001);
        Assert.Equal(1u, Read(0x1C));
    }

    /// <summary>Always in the same places, so that many resets need no memory.</summary>
    private Ring MakeRing(int queue)
    {
        var ring = new Ring
        {
            Submissions = VirtioMachine.HighRamStart + 0xF0_0000 + (ulong)queue * 0x2000,
            Completions = VirtioMachine.HighRamStart + 0xF0_1000 + (ulong)queue * 0x2000,
        };
        _machine.Memory.Write(ring.Completions, new byte[Entries * 16]);
        return ring;
    }

    private void MakeQueue(int queue)
    {
        var ring = _rings[queue] = MakeRing(queue);
        Assert.Equal(0, Admin(0x05, dword10: (uint)((Entries - 1) << 16 | queue), dword11: (uint)queue << 16 | 3, prp1: ring.Completions));
        Assert.Equal(0, Admin(0x01, dword10: (uint)((Entries - 1) << 16 | queue), dword11: (uint)queue << 16 | 1, prp1: ring.Submissions));
    }

    private ushort Submit(int queue, byte opcode, uint ns, ulong prp1, ulong prp2, uint dword10, uint dword11, uint dword12)
    {
        var ring = _rings[queue];
        var entry = new byte[64];
        entry[0] = opcode;
        BinaryPrimitives.WriteUInt16LittleEndian(entry.AsSpan(2), _id);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(4), ns);
        BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(24), prp1);
        BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(32), prp2);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(40), dword10);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(44), dword11);
        BinaryPrimitives.WriteUInt32LittleEndian(entry.AsSpan(48), dword12);
        _machine.Memory.Write(ring.Submissions + ring.Tail * 64, entry);
        ring.Tail = (ring.Tail + 1) % Entries;
        Doorbell(queue * 2, ring.Tail);
        return _id++;
    }

    private (ushort Id, int Status, uint Result) WaitFor(int queue)
    {
        var ring = _rings[queue];
        var address = ring.Completions + ring.Head * 16;
        Assert.True(SpinWait.SpinUntil(() => (_machine.Memory.Read<uint>(address + 12) >> 16 & 1) != 0 == ring.Phase, s_patience), "no completion");
        var result = _machine.Memory.Read<uint>(address);
        var last = _machine.Memory.Read<uint>(address + 12);
        ring.Head = (ring.Head + 1) % Entries;
        ring.Phase ^= ring.Head == 0;
        Doorbell(queue * 2 + 1, ring.Head);
        return ((ushort)last, (int)(last >> 17 & 0x7FF), result);
    }

    private int Admin(byte opcode, uint dword10 = 0, uint dword11 = 0, ulong prp1 = 0, uint ns = 0) => AdminResult(opcode, dword10, dword11, prp1, ns).Status;

    private (int Status, uint Result) AdminResult(byte opcode, uint dword10 = 0, uint dword11 = 0, ulong prp1 = 0, uint ns = 0)
    {
        var id = Submit(0, opcode, ns, prp1, 0, dword10, dword11, 0);
        var (completed, status, result) = WaitFor(0);
        Assert.Equal(id, completed);
        return (status, result);
    }

    private int Io(byte opcode, ulong lba, int blocks, ulong prp1, ulong prp2, uint ns = 1)
    {
        var id = Submit(1, opcode, ns, prp1, prp2, (uint)lba, (uint)(lba >> 32), (uint)blocks - 1);
        var (completed, status, _) = WaitFor(1);
        Assert.Equal(id, completed);
        return status;
    }

    /// <summary>Pages that do not lie in a row, and what points to them.</summary>
    private (ulong Prp1, ulong Prp2, ulong[] Pages) Buffer(int offset, int length)
    {
        var count = (offset + length + 0xFFF) / 0x1000;
        var pages = Enumerable.Range(0, count).Select(_ => _machine.Allocate(0x2000, 0x1000)).ToArray();
        if (count <= 2)
            return (pages[0] + (ulong)offset, count == 2 ? pages[1] : 0, pages);

        // The list begins so that it has to go on in another page after two entries.
        var first = _machine.Allocate(0x1000, 0x1000) + 0xFE8;
        var second = _machine.Allocate(0x1000, 0x1000);
        var rest = pages.Skip(1).ToArray();
        for (var i = 0; i < rest.Length; i++)
            _machine.Memory.Write(i < 2 ? first + (ulong)i * 8 : rest.Length == 3 ? first + 16 : second + (ulong)(i - 2) * 8, rest[i]);
        if (rest.Length > 3)
            _machine.Memory.Write(first + 16, second);
        return (pages[0] + (ulong)offset, first, pages);
    }

    private byte[] Gather(ulong[] pages, int offset, int length)
    {
        var all = pages.SelectMany(page => _machine.Get(page, 0x1000)).ToArray();
        return all[offset..(offset + length)];
    }

    private void Doorbell(int index, uint value) => Write(0x1000 + (ulong)index * 4, value);

    private uint Read(ulong register) => (uint)_machine.Board.Mmio.Read(_bar + register, 4);

    private void Write(ulong register, uint value) => _machine.Board.Mmio.Write(_bar + register, 4, value);
}
