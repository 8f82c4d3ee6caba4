using System.Buffers.Binary;

namespace Vivarium.Devices.Tests;

/// <summary>An AHCI controller with a disk at port 0 and a CD drive at port 1, driven as AHCI 1.3 says.</summary>
public sealed class AhciTests : IDisposable
{
    private const ulong Port = 0x100;
    private const ulong PortLength = 0x80;
    private const ulong Is = 0x10, Ie = 0x14, Cmd = 0x18, Tfd = 0x20, Sig = 0x24, Ssts = 0x28, Sctl = 0x2C, Serr = 0x30, Sact = 0x34, Ci = 0x38;
    private const uint TaskFileError = 1 << 30;
    private const int Sectors = 4096;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly VirtioMachine _machine = new();
    private readonly MemoryDisk _disk = new(Sectors * 512);
    private readonly MemoryDisk _disc = new(100 * 2048) { ReadOnly = true };
    private readonly AhciController _ahci;
    private readonly ulong _abar;
    private readonly int _device;
    private readonly ulong[] _lists = new ulong[2];
    private readonly ulong[] _frames = new ulong[2];
    private readonly ulong _tables;

    public AhciTests()
    {
        IdeMachine.Pattern(_disk.Bytes.Length).CopyTo(_disk.Bytes, 0);
        IdeMachine.Pattern(_disc.Bytes.Length, 2).CopyTo(_disc.Bytes, 0);
        _ahci = new AhciController(_machine.Memory, new AtaDisk(_machine.Memory, _disk, "SD1", isSerialAta: true), new AtapiDrive(_machine.Memory, _disc, "CD1"));
        _device = _machine.Pci.Attach(_ahci.Function);
        _machine.WritePci(_device, 4, 2, 6);
        _abar = _machine.ReadPci(_device, 0x24, 4);
        _tables = _machine.Allocate(32 * 0x1000, 0x1000);
        for (var i = 0; i < 2; i++)
        {
            _lists[i] = _machine.Allocate(1024, 1024);
            _frames[i] = _machine.Allocate(256, 256);
        }

        Write(4, 0x8000_0002);
        StartPort(0);
        StartPort(1);
    }

    public void Dispose()
    {
        _disk.FlushGate.Set();
        _ahci.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void The_controller_says_what_it_is()
    {
        Assert.Equal(0x2922_8086u, _machine.ReadPci(_device, 0, 4));
        Assert.Equal(0x0106_01u, _machine.ReadPci(_device, 8, 4) >> 8);
        Assert.Equal(0x0001_0300u, Read(0x10));
        Assert.Equal(0x3Fu, Read(0x0C));

        // Queuing and 64-bit addresses; 32 slots, 6 ports.
        Assert.Equal(0xC000_1F05u, Read(0) & 0xC000_1F1F);
        Assert.Equal(0x123u, ReadPort(0, Ssts));
        Assert.Equal(0x0000_0101u, ReadPort(0, Sig));
        Assert.Equal(0xEB14_0101u, ReadPort(1, Sig));
        Assert.Equal(0u, ReadPort(2, Ssts));
        Assert.Equal(0x7Fu, ReadPort(2, Tfd) & 0xFF);
    }

    [Fact]
    public void Identify_comes_by_pio()
    {
        var data = _machine.Allocate(512);
        Issue(0, Command(0xEC), write: false, (data, 512));
        Assert.Equal(0u, ReadPort(0, Ci));
        Assert.Equal(2u, ReadPort(0, Is) & 3);
        Assert.Equal(0x50u, ReadPort(0, Tfd));

        // PIO Setup: its end is a status without DRQ, its length 512.
        var frame = _machine.Get(_frames[0] + 0x20, 20);
        Assert.Equal([0x5F, 0x60, 0x58], frame[..3]);
        Assert.Equal([0x50, 0, 2], frame[15..18]);
        var words = _machine.Get(data, 512);
        Assert.Equal(31, words[150]);
        Assert.Equal(0x01, words[153]);
        Assert.Equal(512u, BinaryPrimitives.ReadUInt32LittleEndian(_machine.Get(_lists[0] + 4, 4)));
    }

    [Fact]
    public void Dma_goes_through_the_regions_in_their_order()
    {
        var first = _machine.Allocate(0x2000, 0x1000);
        var second = _machine.Allocate(0x2000, 0x1000);
        Issue(0, Command(0x25, lba: 40, count: 8), write: false, (second, 1024), (first, 3072));
        Assert.Equal(_disk.Bytes.AsSpan(40 * 512, 1024).ToArray(), _machine.Get(second, 1024));
        Assert.Equal(_disk.Bytes.AsSpan(42 * 512, 3072).ToArray(), _machine.Get(first, 3072));
        Assert.Equal(1u, ReadPort(0, Is) & 1);
        Assert.Equal([0x34, 0x40, 0x50, 0], _machine.Get(_frames[0] + 0x40, 4));

        var data = IdeMachine.Pattern(2048, 5);
        _machine.Memory.Write(first, data);
        Issue(0, Command(0x35, lba: 100, count: 4), write: true, (first, 2048));
        Assert.Equal(data, _disk.Bytes.AsSpan(100 * 512, 2048).ToArray());
    }

    [Fact]
    public void Queued_commands_tell_their_end_by_set_device_bits()
    {
        var data = _machine.Allocate(0x4000, 0x1000);
        for (var slot = 0; slot < 3; slot++)
            Prepare(0, slot, Queued(0x60, (ulong)slot * 50, 8, slot), write: false, (data + (ulong)slot * 0x1000, 4096));
        WritePort(0, Sact, 7);
        WritePort(0, Ci, 7);
        Assert.Equal(0u, ReadPort(0, Sact));
        Assert.Equal(0u, ReadPort(0, Ci));
        Assert.Equal(8u, ReadPort(0, Is) & 8);
        for (var slot = 0; slot < 3; slot++)
            Assert.Equal(_disk.Bytes.AsSpan(slot * 50 * 512, 4096).ToArray(), _machine.Get(data + (ulong)slot * 0x1000, 4096));
        Assert.Equal([0xA1, 0x40, 0x50, 0, 4, 0, 0, 0], _machine.Get(_frames[0] + 0x58, 8));
    }

    [Fact]
    public void A_queued_error_stops_the_queue_and_stands_in_the_log()
    {
        _disk.BadByte = 60 * 512;
        var data = _machine.Allocate(0x2000, 0x1000);
        Prepare(0, 3, Queued(0x60, 56, 8, 3), write: false, (data, 4096));
        Prepare(0, 4, Queued(0x60, 200, 8, 4), write: false, (data, 4096));
        WritePort(0, Sact, 0x18);
        WritePort(0, Ci, 0x18);
        Assert.Equal(TaskFileError, ReadPort(0, Is) & TaskFileError);
        Assert.Equal(0x18u, ReadPort(0, Sact));
        Assert.Equal(1u, ReadPort(0, Tfd) & 1);

        // Recovery: stop, start, read log page 10h (AHCI 1.3, 6.2.2.2).
        WritePort(0, Cmd, 0x10);
        Assert.Equal(0u, ReadPort(0, Sact) | ReadPort(0, Ci));
        WritePort(0, Is, ~0u);
        WritePort(0, Cmd, 0x11);
        var log = _machine.Allocate(512);
        Issue(0, Command(0x2F, lba: 0x10, count: 1), write: false, (log, 512));
        var page = _machine.Get(log, 512);
        Assert.Equal(3, page[0]);
        Assert.Equal(0x51, page[2]);
        Assert.Equal(0x40, page[3]);
        Assert.Equal(0, (byte)page.Sum(value => value));
        _disk.BadByte = ulong.MaxValue;
        Issue(0, Queued(0x60, 200, 8, 0), write: false, (data, 4096));
        Assert.Equal(_disk.Bytes.AsSpan(200 * 512, 4096).ToArray(), _machine.Get(data, 4096));
    }

    [Fact]
    public void Flushes_wait_on_another_thread()
    {
        _disk.FlushGate.Reset();
        Prepare(0, 0, Command(0xEA), write: false);
        WritePort(0, Ci, 1);
        Assert.Equal(1u, ReadPort(0, Ci));
        Assert.Equal(0x80u, ReadPort(0, Tfd) & 0x80);
        _disk.FlushGate.Set();
        Assert.True(SpinWait.SpinUntil(() => ReadPort(0, Ci) == 0, s_patience));
        Assert.Equal(0x50u, ReadPort(0, Tfd));
        Assert.Contains("flush", _disk.Log);
    }

    [Fact]
    public void Packets_reach_the_cd_drive()
    {
        // The first learns of the reset.
        IssuePacket([0x00]);
        Assert.Equal(TaskFileError, ReadPort(1, Is) & TaskFileError);
        Assert.Equal(0x64u, ReadPort(1, Tfd) >> 8);
        WritePort(1, Cmd, 0x10);
        WritePort(1, Cmd, 0x11);
        var data = _machine.Allocate(0x2000, 0x1000);
        IssuePacket([0x28, 0, 0, 0, 0, 7, 0, 0, 3], dma: true, (data, 6144));
        Assert.Equal(0x50u, ReadPort(1, Tfd));
        Assert.Equal(_disc.Bytes.AsSpan(7 * 2048, 6144).ToArray(), _machine.Get(data, 6144));
        IssuePacket([0x12, 0, 0, 0, 36], dma: false, (data, 36));
        Assert.Equal([5, 0x80], _machine.Get(data, 2));
        IssuePacket([0x28, 0, 0, 0, 0, 9, 0, 0, 1], dma: false, (data, 2048));
        Assert.Equal(_disc.Bytes.AsSpan(9 * 2048, 2048).ToArray(), _machine.Get(data, 2048));
    }

    [Fact]
    public void Soft_reset_takes_two_frames_and_brings_the_signature()
    {
        byte[] frame = [0x27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
        Prepare(1, 0, frame, write: false);
        WritePort(1, Ci, 1);
        Assert.Equal(0u, ReadPort(1, Ci));
        frame[15] = 0;
        Prepare(1, 1, frame, write: false);
        WritePort(1, Ci, 2);
        Assert.Equal(0u, ReadPort(1, Ci));
        Assert.Equal(0xEB14_0101u, ReadPort(1, Sig));
        Assert.Equal(0u, ReadPort(1, Tfd) & 0x88);
        Assert.Equal([1, 0x14, 0xEB], _machine.Get(_frames[1] + 0x40 + 4, 3));
    }

    [Fact]
    public void Comreset_brings_the_device_back()
    {
        WritePort(0, Cmd, 0x10);
        WritePort(0, Sctl, 0x301);
        Assert.Equal(0u, ReadPort(0, Ssts));
        WritePort(0, Sctl, 0x300);
        Assert.Equal(0x123u, ReadPort(0, Ssts));
        Assert.Equal(1u << 26, ReadPort(0, Serr));
        Assert.Equal(1u << 6, ReadPort(0, Is) & 1 << 6);
        Assert.Equal(0x101u, ReadPort(0, Sig));
        Assert.Equal(0x150u, ReadPort(0, Tfd));
        WritePort(0, Serr, ~0u);
        Assert.Equal(0u, ReadPort(0, Is) & 1 << 6);
        WritePort(0, Cmd, 0x11);
        var data = _machine.Allocate(512);
        Issue(0, Command(0xC8, lba: 3, count: 1), write: false, (data, 512));
        Assert.Equal(_disk.Bytes.AsSpan(3 * 512, 512).ToArray(), _machine.Get(data, 512));
    }

    [Fact]
    public void The_message_comes_when_a_port_asks_and_the_wire_is_silent_then()
    {
        var at = (int)_machine.ReadPci(_device, 0x34, 1);
        Assert.Equal(5u, _machine.ReadPci(_device, at, 1));
        _machine.WritePci(_device, at + 4, 4, 0xFEE0_0000);
        _machine.WritePci(_device, at + 12, 2, 0x62);
        _machine.WritePci(_device, at + 2, 2, 1);
        WritePort(0, Ie, 0xFFFF_FFFF);
        var data = _machine.Allocate(512);
        Issue(0, Command(0xC8, lba: 3, count: 1), write: false, (data, 512));
        Assert.Equal(0x62, _machine.Board.Apic.AcknowledgeInterrupt());
        _machine.Board.EndOfInterrupt();
        Assert.Equal(1u, Read(8));
        WritePort(0, Is, ~0u);
        Write(8, 1);
        Assert.Equal(0u, Read(8));
        Assert.False(_machine.Board.Apic.HasInterrupt);
    }

    [Theory]
    [InlineData(0xE000_0000ul)]
    [InlineData(VirtioMachine.RomStart)]
    [InlineData(ulong.MaxValue - 0xFFF)]
    public void Regions_outside_of_RAM_are_a_host_bus_error(ulong address)
    {
        Issue(0, Command(0x25, lba: 1, count: 8), write: false, (address, 4096));
        Assert.Equal(1u << 29, ReadPort(0, Is) & 1 << 29);
        Restart(0);
    }

    [Fact]
    public void State_is_kept()
    {
        var state = _ahci.Save();
        _ahci.Restore(state);
        var data = _machine.Allocate(512);
        Issue(0, Command(0xC8, lba: 3, count: 1), write: false, (data, 512));
        Assert.Equal(_disk.Bytes.AsSpan(3 * 512, 512).ToArray(), _machine.Get(data, 512));
    }

    [Fact]
    public void Registers_and_commands_of_60_000_random_kinds_do_no_harm()
    {
        var random = new Random(41);
        var rom = _machine.Get(VirtioMachine.RomStart, 0x1000);
        byte[] codes = [0x25, 0x35, 0x60, 0x61, 0xEC, 0xA0, 0xA1, 0x20, 0x30, 0xC8, 0xCA, 0xEA, 0x06, 0x2F, 0xEF, 0x90, 0x08];
        for (var i = 0; i < 60_000; i++)
        {
            var port = random.Next(2);
            if (random.Next(4) != 0)
            {
                var frame = new byte[20];
                random.NextBytes(frame);
                frame[0] = (byte)(random.Next(32) == 0 ? frame[0] : 0x27);
                frame[1] = (byte)(random.Next(16) == 0 ? 0 : 0x80);
                frame[2] = random.Next(4) == 0 ? frame[2] : codes[random.Next(codes.Length)];
                for (var j = 3; j < 20; j++)
                    frame[j] = random.Next(3) == 0 ? frame[j] : (byte)random.Next(4);
                var regions = Enumerable.Range(0, random.Next(4)).Select(_ => (RandomAddress(random), random.Next(1, 0x3000))).ToArray();
                var slot = random.Next(32);
                Prepare(port, slot, frame, random.Next(2) == 0, regions);
                if (random.Next(8) == 0)
                    _machine.Memory.Write(_lists[port] + (ulong)slot * 32 + (ulong)random.Next(12), (uint)random.Next());
                if (random.Next(3) == 0)
                    WritePort(port, Sact, 1u << slot);
                WritePort(port, Ci, 1u << slot);
            }
            else if (random.Next(3) == 0)
            {
                WritePort(port, 4 * (ulong)random.Next(32), (uint)random.Next() | (uint)random.Next(2) << 31);
                Restart(port);
            }
            else
            {
                Restart(port);
            }

            if (random.Next(64) == 0)
                _machine.Board.Mmio.Read(_abar + (ulong)random.Next(0x7F8), 1 << random.Next(4));
        }

        Assert.Equal(rom, _machine.Get(VirtioMachine.RomStart, 0x1000));
        Write(4, 0x8000_0001);
        Write(4, 0x8000_0002);
        StartPort(0);
        Assert.True(SpinWait.SpinUntil(() => (ReadPort(0, Tfd) & 0x88) == 0, s_patience));
        var data = _machine.Allocate(512);
        Issue(0, Command(0x25, lba: 3, count: 1), write: false, (data, 512));
        Assert.Equal(_disk.Bytes.AsSpan(3 * 512, 512).ToArray(), _machine.Get(data, 512));
    }

    private static ulong RandomAddress(Random random) => random.Next(8) switch
    {
        0 => (ulong)random.NextInt64(),
        1 => VirtioMachine.RomStart - (ulong)random.Next(0x1000),
        2 => VirtioMachine.HighRamStart + VirtioMachine.RamSize - (ulong)random.Next(0x2000),
        _ => VirtioMachine.HighRamStart + 0x40_0000 + (ulong)random.Next(0x80_0000),
    };

    private void StartPort(int port)
    {
        WritePort(port, 0x00, (uint)_lists[port]);
        WritePort(port, 0x04, 0);
        WritePort(port, 0x08, (uint)_frames[port]);
        WritePort(port, 0x0C, 0);
        WritePort(port, Cmd, 0x10);
        WritePort(port, Cmd, 0x11);
    }

    /// <summary>What a driver does after an error.</summary>
    private void Restart(int port)
    {
        WritePort(port, Cmd, 0x10);
        WritePort(port, Sctl, 1);
        WritePort(port, Sctl, 0);
        WritePort(port, Serr, ~0u);
        WritePort(port, Is, ~0u);
        StartPort(port);
    }

    private static byte[] Command(byte code, ulong lba = 0, int count = 0, int features = 0)
    {
        byte[] frame = [0x27, 0x80, code, (byte)features, (byte)lba, (byte)(lba >> 8), (byte)(lba >> 16), 0x40,
            (byte)(lba >> 24), (byte)(lba >> 32), (byte)(lba >> 40), (byte)(features >> 8), (byte)count, (byte)(count >> 8), 0, 0, 0, 0, 0, 0];
        return frame;
    }

    private static byte[] Queued(byte code, ulong lba, int count, int tag) => Command(code, lba, tag << 3, count);

    private void Issue(int port, byte[] frame, bool write, params (ulong Address, int Length)[] regions)
    {
        Prepare(port, 0, frame, write, regions);
        if (frame[2] is 0x60 or 0x61)
            WritePort(port, Sact, 1);
        WritePort(port, Ci, 1);
    }

    private void IssuePacket(byte[] packet, bool dma = false, params (ulong Address, int Length)[] regions)
    {
        var frame = Command(0xA0, features: dma ? 1 : 0);
        frame[6] = 0x20;
        Prepare(1, 0, frame, write: false, regions);
        _machine.Memory.Write(_lists[1], _machine.Memory.Read<ushort>(_lists[1]) | 0x20);
        _machine.Memory.Write(_lists[1] + 2, (ushort)regions.Length);
        _machine.Memory.Write(Table(1, 0) + 0x40, new byte[16]);
        _machine.Memory.Write(Table(1, 0) + 0x40, packet);
        WritePort(1, Is, ~0u);
        WritePort(1, Ci, 1);
    }

    private ulong Table(int port, int slot) => _tables + (ulong)(port * 32 + slot) % 32 * 0x1000;

    private void Prepare(int port, int slot, byte[] frame, bool write, params (ulong Address, int Length)[] regions)
    {
        var header = new byte[32];
        header[0] = (byte)(5 | (write ? 0x40 : 0));
        header[2] = (byte)regions.Length;
        BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(8), Table(port, slot));
        _machine.Memory.Write(_lists[port] + (ulong)slot * 32, header);
        _machine.Memory.Write(Table(port, slot), frame);
        for (var i = 0; i < regions.Length; i++)
        {
            var region = new byte[16];
            BinaryPrimitives.WriteUInt64LittleEndian(region, regions[i].Address);
            BinaryPrimitives.WriteUInt32LittleEndian(region.AsSpan(12), (uint)regions[i].Length - 1);
            _machine.Memory.Write(Table(port, slot) + 0x80 + (ulong)i * 16, region);
        }
    }

    private uint Read(ulong register) => (uint)_machine.Board.Mmio.Read(_abar + register, 4);

    private void Write(ulong register, uint value) => _machine.Board.Mmio.Write(_abar + register, 4, value);

    private uint ReadPort(int port, ulong register) => Read(Port + (ulong)port * PortLength + register);

    private void WritePort(int port, ulong register, uint value) => Write(Port + (ulong)port * PortLength + register, value);
}
