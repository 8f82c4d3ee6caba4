using System.Buffers.Binary;
using System.Text;

namespace Vivarium.Devices.Tests;

/// <summary>A CD drive by the PACKET command: its protocol, and what MMC and SFF-8020i say of each command.</summary>
public sealed class AtapiDriveTests : IDisposable
{
    private const int Block = 2048;
    private const int Blocks = 200;

    // Interrupt reasons: command packet wanted, data to the host, status.
    private const byte PacketWanted = 1, DataIn = 2, StatusReason = 3;

    private readonly MemoryDisk _disc = new(Blocks * Block) { ReadOnly = true };
    private readonly IdeMachine _ide;
    private AtapiDrive _cd = null!;

    public AtapiDriveTests()
    {
        IdeMachine.Pattern(_disc.Bytes.Length).CopyTo(_disc.Bytes, 0);
        _ide = new IdeMachine(machine => _cd = new AtapiDrive(machine.Memory, _disc, "CD1") { Failed = machine.Note });
    }

    public void Dispose() => _ide.Dispose();

    [Fact]
    public void A_reset_leaves_the_signature_of_a_packet_device()
    {
        _ide.Control(4);
        _ide.Control(0);
        Assert.Equal([1, 1, 0x14, 0xEB], new[] { _ide.In(2), _ide.In(3), _ide.In(4), _ide.In(5) });
        Assert.Equal(0, _ide.In(IdeMachine.Status));
    }

    [Fact]
    public void Commands_for_disks_are_aborted_and_show_the_signature()
    {
        foreach (var command in new byte[] { 0xEC, 0x20 })
        {
            _ide.Command(command, lba: 0x123456);
            Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
            Assert.Equal(4, _ide.In(IdeMachine.Error));
            Assert.Equal([0x14, 0xEB], new[] { _ide.In(4), _ide.In(5) });
        }

        _ide.Command(0xC8);
        Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
    }

    [Fact]
    public void Identify_packet_device_tells_of_a_removable_cd_drive()
    {
        _ide.Command(0xA1);
        Assert.True(_ide.Interrupted());
        var words = new ushort[256];
        Buffer.BlockCopy(_ide.ReadData(512), 0, words, 0, 512);
        Assert.Equal(0x85C0, words[0]);
        Assert.Equal(0x0300, words[49] & 0x0300);
        Assert.Equal("VIVARIUM CD-ROM DRIVE", string.Concat(words[27..47].Select(word => $"{(char)(word >> 8)}{(char)(word & 0xFF)}")).TrimEnd());
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
    }

    [Fact]
    public void Device_reset_ends_a_command_and_keeps_quiet()
    {
        SendPacket([0x12, 0, 0, 0, 36], limit: 36);
        _ = _ide.Interrupted();
        Assert.Equal(IdeMachine.DataRequest, _ide.AlternateStatus);
        _ide.Out(IdeMachine.Status, 0x08);
        Assert.Equal(0, _ide.In(IdeMachine.Status));
        Assert.Equal([0x14, 0xEB], new[] { _ide.In(4), _ide.In(5) });
        Assert.False(_ide.Interrupted());
    }

    [Fact]
    public void The_packet_protocol_shows_its_phases()
    {
        GetReady();
        _ = _ide.Interrupted();
        _ide.Out(IdeMachine.Device, 0);
        _ide.Out(IdeMachine.Features, 0);
        _ide.Out(IdeMachine.LbaMid, 16);
        _ide.Out(IdeMachine.LbaHigh, 0);
        _ide.Out(IdeMachine.Status, 0xA0);
        Assert.Equal(IdeMachine.DataRequest, _ide.AlternateStatus);
        Assert.Equal(PacketWanted, _ide.In(IdeMachine.Count));
        Assert.False(_ide.Interrupted());
        _ide.WriteData([0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0]);

        // 36 bytes in pieces of at most 16, each with its interrupt and its length.
        var data = new List<byte>();
        foreach (var length in new[] { 16, 16, 4 })
        {
            Assert.True(_ide.Interrupted());
            Assert.Equal(IdeMachine.DataRequest, _ide.In(IdeMachine.Status));
            Assert.Equal(DataIn, _ide.In(IdeMachine.Count));
            Assert.Equal(length, _ide.In(IdeMachine.LbaMid) | _ide.In(IdeMachine.LbaHigh) << 8);
            data.AddRange(_ide.ReadData(length));
        }

        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
        Assert.Equal(StatusReason, _ide.In(IdeMachine.Count));
        Assert.Equal([5, 0x80, 0, 0x21, 31], data[..5]);
        Assert.Equal("VIVARIUMCD-ROM DRIVE    1.0 ", Encoding.ASCII.GetString([.. data[8..36]]));
    }

    [Fact]
    public void Odd_limits_and_limits_of_nothing_are_as_the_standard_says()
    {
        GetReady();

        // More than the limit is there, so that it becomes even.
        SendPacket([0x12, 0, 0, 0, 36], limit: 9);
        Assert.Equal(8, _ide.In(IdeMachine.LbaMid));
        _ = ReadAll();

        // An odd length that fits is given as it is.
        SendPacket([0x12, 0, 0, 0, 5], limit: 9);
        Assert.Equal(5, _ide.In(IdeMachine.LbaMid));
        _ide.ReadData(6);
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
        SendPacket([0x12, 0, 0, 0, 36], limit: 0);
        Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
    }

    [Fact]
    public void The_first_command_after_a_reset_learns_of_it()
    {
        Assert.Equal((6, 0x29, 0), Fails([0x00]));
        Assert.Equal((6, 0x28, 0), FailsAfter(() => _cd.Insert(_disc), [0x00]));
        Succeeds([0x00]);
        _ide.Control(4);
        _ide.Control(0);

        // INQUIRY does not take the attention away.
        Assert.Equal(36, Data([0x12, 0, 0, 0, 36]).Length);
        Assert.Equal((6, 0x29, 0), Fails([0x25]));
        Succeeds([0x25]);
    }

    [Theory]
    [InlineData(0x28)]
    [InlineData(0xA8)]
    [InlineData(0xBE)]
    public void Reading_by_pio_and_by_dma(byte command)
    {
        GetReady();
        var packet = new byte[12];
        packet[0] = command;
        const int first = 7, count = 60;
        BinaryPrimitives.WriteUInt32BigEndian(packet.AsSpan(2), first);
        switch (command)
        {
            case 0x28:
                packet[8] = count;
                break;
            case 0xA8:
                packet[9] = count;
                break;
            default:
                packet[8] = count;
                packet[9] = 0x10;
                break;
        }

        var expected = _disc.Bytes.AsSpan(first * Block, count * Block).ToArray();
        Assert.Equal(expected, Data(packet, limit: 0xFFFF));
        Assert.Equal(expected, Data(packet, limit: 2048));
        Assert.Equal(expected, DataByDma(packet, count * Block));
    }

    [Fact]
    public void Dma_in_several_rounds_goes_on_where_it_stopped()
    {
        GetReady();
        var address = _ide.Machine.Allocate(8 * Block, 0x1000);
        SendPacket([0x28, 0, 0, 0, 0, 3, 0, 0, 8, 0], limit: 0, dma: true);
        foreach (var part in new[] { 1, 3, 4 })
        {
            _ide.SetRegions((address, part * Block));
            _ide.StartMaster(toMemory: true);
            _ide.StopMaster();
            address += (ulong)part * Block;
        }

        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
        Assert.Equal(_disc.Bytes.AsSpan(3 * Block, 8 * Block).ToArray(), _ide.Machine.Get(address - 8 * Block, 8 * Block));
    }

    [Fact]
    public void Responses_come_by_dma_too_whatever_their_length()
    {
        GetReady();
        var inquiry = DataByDma([0x12, 0, 0, 0, 36], 36);
        Assert.Equal(Data([0x12, 0, 0, 0, 36]), inquiry);
    }

    [Fact]
    public void Reads_beyond_the_end_and_of_bad_blocks_fail()
    {
        GetReady();
        Assert.Equal((5, 0x21, 0), Fails([0x28, 0, 0, 0, 0, Blocks - 1, 0, 0, 2]));
        Assert.Equal((5, 0x21, 0), Fails([0xA8, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]));
        Succeeds([0x28, 0, 0, 0, 0, 0, 0, 0, 0]);
        _disc.BadByte = 10 * Block;
        Assert.Equal((3, 0x11, 0), Fails([0x28, 0, 0, 0, 0, 8, 0, 0, 4]));
        Assert.Equal(["bad byte"], _ide.Problems);
        Assert.Equal((5, 0x64, 0), Fails([0xBE, 0, 0, 0, 0, 0, 0, 0, 1, 0xF8]));
        Assert.Equal((5, 0x20, 0), Fails([0x2A, 0, 0, 0, 0, 0, 0, 0, 1]));
    }

    [Fact]
    public void The_disc_is_told_of()
    {
        GetReady();
        Assert.Equal([0, 0, 0, Blocks - 1, 0, 0, 8, 0], Data([0x25]));

        // Table of contents: track 1, lead-out at 200, that is 2 seconds and 50 frames behind 2 seconds.
        Assert.Equal([0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 0, Blocks], Data([0x43, 0, 0, 0, 0, 0, 0, 0, 20]));
        Assert.Equal([0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x14, 0xAA, 0, 0, 0, 4, 50], Data([0x43, 2, 0, 0, 0, 0, 0, 0, 20]));
        Assert.Equal([0, 10, 1, 1, 0, 0x14, 0xAA, 0, 0, 0, 0, Blocks], Data([0x43, 0, 0, 0, 0, 0, 0xAA, 0, 20]));
        Assert.Equal((5, 0x24, 0), Fails([0x43, 0, 0, 0, 0, 0, 2, 0, 20]));

        // Sessions, in both ways to ask for them; full.
        Assert.Equal([0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0], Data([0x43, 0, 1, 0, 0, 0, 0, 0, 20]));
        Assert.Equal([0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0], Data([0x43, 0, 0, 0, 0, 0, 0, 0, 20, 0x40]));
        Assert.Equal([0, 46, 1, 1, 1, 0x14, 0, 0xA0, 0, 0, 0, 0, 1, 0, 0, 1], Data([0x43, 0, 2, 0, 0, 0, 0, 0, 16]));

        Assert.Equal([0, 32, 0x0E, 1, 1, 1, 1, 0x20], Data([0x51, 0, 0, 0, 0, 0, 0, 0, 8]));
        Assert.Equal([0, 0x15, 0, 12, 1, 0x14, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0], Data([0x42, 0, 0x40, 1, 0, 0, 0, 0, 16]));
        Assert.Equal((5, 0x30, 2), Fails([0xAD, 0, 0, 0, 0, 0, 0, 0, 0, 20]));
        Assert.Equal([0, 0, 0, 0, 0, 0, 0, 0], Data([0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8]));
        Succeeds([0xBB, 0, 0xFF, 0xFF]);
    }

    [Fact]
    public void The_drive_is_told_of()
    {
        GetReady();

        // Header, then page 2AH: it plays nothing, locks, ejects, and has a tray.
        var page = Data([0x5A, 0, 0x2A, 0, 0, 0, 0, 0, 40]);
        Assert.Equal([0, 28, 1, 0, 0, 0, 0, 0, 0x2A, 20, 11, 0, 0x70, 0, 0x29], page[..15]);
        Assert.Equal([25, 1, 0, 0, 0x2A, 20], Data([0x1A, 0, 0x2A, 0, 6]));
        Assert.Equal(new byte[20], Data([0x5A, 0, 0x6A, 0, 0, 0, 0, 0, 40])[10..30]);
        Assert.Equal((5, 0x39, 0), Fails([0x5A, 0, 0xEA, 0, 0, 0, 0, 0, 40]));
        Assert.Equal((5, 0x24, 0), Fails([0x5A, 0, 0x05, 0, 0, 0, 0, 0, 40]));

        // The current profile is CD-ROM; only current features with RT 1; one with RT 2.
        var features = Data([0x46, 0, 0, 0, 0, 0, 0, 1, 0]);
        Assert.Equal(features.Length - 4, BinaryPrimitives.ReadInt32BigEndian(features));
        Assert.Equal([0, 8], features[6..8]);
        Assert.True(Data([0x46, 1, 0, 0, 0, 0, 0, 1, 0]).Length < features.Length);
        Assert.Equal([0, 0, 0, 12, 0, 0, 0, 8, 0, 3, 3, 4, 0x29, 0, 0, 0], Data([0x46, 2, 0, 3, 0, 0, 0, 1, 0]));
    }

    [Fact]
    public void The_guest_ejects_locks_and_loads()
    {
        GetReady();
        List<bool> moves = [];
        _cd.TrayMoved = moves.Add;
        Succeeds([0x1E, 0, 0, 0, 1]);
        Assert.Equal((5, 0x53, 2), Fails([0x1B, 0, 0, 0, 2]));
        Succeeds([0x1E, 0, 0, 0, 0]);
        Succeeds([0x1B, 0, 0, 0, 2]);
        Assert.Equal((2, 0x3A, 2), Fails([0x00]));
        Assert.Equal((2, 0x3A, 2), Fails([0x25]));
        Assert.Equal([0, 6, 4, 0x10, 3, 1, 0, 0], Data([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]));
        Succeeds([0x1B, 0, 0, 0, 3]);
        Assert.Equal([0, 6, 4, 0x10, 2, 2, 0, 0], Data([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]));
        Assert.Equal([0, 6, 4, 0x10, 0, 2, 0, 0], Data([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]));
        Assert.Equal((6, 0x28, 0), Fails([0x00]));
        Succeeds([0x00]);
        Assert.Equal([true, false], moves);
    }

    [Fact]
    public void People_take_the_disc_and_put_in_another()
    {
        GetReady();
        Succeeds([0x1E, 0, 0, 0, 1]);
        Assert.False(_cd.Eject(force: false));
        Assert.Equal([0, 6, 4, 0x10, 1, 2, 0, 0], Data([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]));
        Succeeds([0x1E, 0, 0, 0, 0]);
        Assert.True(_cd.Eject(force: false));
        Assert.Equal((2, 0x3A, 2), Fails([0x28, 0, 0, 0, 0, 0, 0, 0, 1]));
        Succeeds([0x1B, 0, 0, 0, 3]);
        Assert.Equal((2, 0x3A, 1), Fails([0x00]));
        var other = new MemoryDisk(20 * Block);
        _cd.Insert(other);
        Assert.Equal((6, 0x28, 0), Fails([0x00]));
        Assert.Equal([0, 0, 0, 19, 0, 0, 8, 0], Data([0x25]));
    }

    [Fact]
    public void A_disc_of_more_than_80_minutes_is_a_dvd()
    {
        GetReady();
        _cd.Insert(new MemoryDisk(0) { Length = 400_000ul * Block });
        _ = Fails([0x00]);
        Assert.Equal([0, 0x10], Data([0x46, 0, 0, 0, 0, 0, 0, 0, 8])[6..8]);
        Assert.Equal([0, 19, 0, 0, 1, 0x0F, 1, 0, 0, 3, 0, 0], Data([0xAD, 0, 0, 0, 0, 0, 0, 0, 0, 12]));
    }

    [Fact]
    public void State_is_kept_in_the_middle_of_a_transfer()
    {
        GetReady();
        SendPacket([0x28, 0, 0, 0, 0, 5, 0, 0, 2], limit: 2048);
        var half = _ide.ReadData(2048);
        _ide.ReadData(100);
        var state = _ide.Ide.Save();
        using var other = new IdeMachine(machine => new AtapiDrive(machine.Memory, _disc, "CD1"));
        other.Ide.Restore(state);
        Assert.Equal(_disc.Bytes.AsSpan(6 * Block + 100, Block - 100).ToArray(), other.ReadData(Block - 100));
        Assert.Equal(IdeMachine.Ready, other.In(IdeMachine.Status));
        Assert.Equal(_disc.Bytes.AsSpan(5 * Block, Block).ToArray(), half);
    }

    [Fact]
    public void Packets_of_50_000_random_kinds_do_no_harm()
    {
        var random = new Random(31);
        byte[] commands = [0x00, 0x03, 0x08, 0x12, 0x1A, 0x1B, 0x1E, 0x25, 0x28, 0x2B, 0x42, 0x43, 0x46, 0x4A, 0x51, 0x52, 0x5A, 0xA8, 0xAD, 0xBB, 0xBD, 0xBE];
        var packet = new byte[12];
        var address = _ide.Machine.Allocate(0x1_0000, 0x1000);
        var table = _ide.Machine.Allocate(8, 8);
        for (var i = 0; i < 50_000; i++)
        {
            random.NextBytes(packet);
            if (random.Next(8) != 0)
                packet[0] = commands[random.Next(commands.Length)];
            for (var j = 1; j < 12; j++)
                packet[j] = random.Next(3) == 0 ? packet[j] : (byte)random.Next(4);
            var dma = random.Next(3) == 0;
            SendPacket(packet, random.Next(4) == 0 ? random.Next(0x1_0000) : random.Next(64), dma);
            switch (random.Next(6))
            {
                case 0:
                    _ide.Out(IdeMachine.Status, (byte)(random.Next(2) == 0 ? 0x08 : random.Next(256)));
                    break;
                case 1:
                    _cd.Insert(random.Next(2) == 0 ? _disc : new MemoryDisk(random.Next(300) * Block));
                    break;
                case 2:
                    _cd.Eject(random.Next(2) == 0);
                    break;
                case 3 when dma:
                    _ide.Memory.Write(table, (ulong)(random.Next(0x8000) & ~1 | 1L << 31) << 32 | address);
                    _ide.MasterOut(4, 4, (uint)table);
                    _ide.StartMaster(random.Next(4) != 0);
                    _ide.StopMaster();
                    break;
                default:
                    _ide.ReadData(2 * random.Next(40));
                    break;
            }
        }

        _cd.Insert(_disc);
        _ide.Control(4);
        _ide.Control(0);
        _ = Fails([0x00]);
        _ = Fails([0x00]);
        Assert.Equal(_disc.Bytes.AsSpan(9 * Block, Block).ToArray(), Data([0x28, 0, 0, 0, 0, 9, 0, 0, 1]));
    }

    private void GetReady() => Assert.Equal((6, 0x29, 0), Fails([0x00]));

    private void SendPacket(ReadOnlySpan<byte> packet, int limit, bool dma = false)
    {
        _ide.Out(IdeMachine.Device, 0);
        _ide.Out(IdeMachine.Features, dma ? (byte)1 : (byte)0);
        _ide.Out(IdeMachine.LbaMid, (byte)limit);
        _ide.Out(IdeMachine.LbaHigh, (byte)(limit >> 8));
        _ide.Out(IdeMachine.Status, 0xA0);
        var bytes = new byte[12];
        packet.CopyTo(bytes);
        _ide.WriteData(bytes);
    }

    private byte[] Data(ReadOnlySpan<byte> packet, int limit = 0x200)
    {
        SendPacket(packet, limit);
        return ReadAll();
    }

    private byte[] ReadAll()
    {
        var data = new List<byte>();
        while ((_ide.WaitReady() & 8) != 0)
        {
            var length = _ide.In(IdeMachine.LbaMid) | _ide.In(IdeMachine.LbaHigh) << 8;
            data.AddRange(_ide.ReadData(length));
        }

        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
        return [.. data];
    }

    private byte[] DataByDma(ReadOnlySpan<byte> packet, int length)
    {
        var address = _ide.Machine.Allocate(length, 0x1000);
        SendPacket(packet, limit: 0, dma: true);
        _ide.SetRegions([.. Enumerable.Range(0, (length + 0x7FFF) / 0x8000).Select(i => (address + (ulong)i * 0x8000, Math.Min(0x8000, length - i * 0x8000)))]);
        _ide.StartMaster(toMemory: true);
        Assert.Equal(IdeMachine.Ready, _ide.WaitReady());
        Assert.Equal(IdeMachine.MasterInterrupt, _ide.MasterStatus & 7);
        _ide.StopMaster();
        return _ide.Machine.Get(address, length);
    }

    private void Succeeds(ReadOnlySpan<byte> packet) => _ = Data(packet);

    private (int Key, int Code, int Qualifier) FailsAfter(Action action, ReadOnlySpan<byte> packet)
    {
        action();
        return Fails(packet);
    }

    private (int Key, int Code, int Qualifier) Fails(ReadOnlySpan<byte> packet)
    {
        SendPacket(packet, 0x8000);
        var status = _ide.WaitReady();
        while ((status & 8) != 0)
        {
            _ide.ReadData(_ide.In(IdeMachine.LbaMid) | _ide.In(IdeMachine.LbaHigh) << 8);
            status = _ide.WaitReady();
        }

        Assert.Equal(IdeMachine.Failed, status);
        var key = _ide.In(IdeMachine.Error) >> 4;
        var sense = Data([0x03, 0, 0, 0, 18]);
        Assert.Equal(key, sense[2]);
        return (sense[2], sense[12], sense[13]);
    }
}
