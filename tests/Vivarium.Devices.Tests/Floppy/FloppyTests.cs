namespace Vivarium.Devices.Tests;

/// <summary>A floppy controller with two drives, driven as the 82077AA's data sheet says, by DMA and without.</summary>
public sealed class FloppyTests : IDisposable
{
    private const int Sector = 512;
    private const byte Vector = 0x46;
    private const ushort Dor = 0x3F2, Msr = 0x3F4, Fifo = 0x3F5, Dir = 0x3F7, Ccr = 0x3F7;

    private readonly VirtioMachine _machine = new();
    private readonly MemoryDisk _disk = new(2880 * Sector);
    private readonly MemoryDisk _small = new(720 * Sector) { ReadOnly = true };
    private readonly DmaController _dma;
    private readonly FloppyController _floppy;
    private readonly ulong _buffer;

    public FloppyTests()
    {
        IdeMachine.Pattern(_disk.Bytes.Length).CopyTo(_disk.Bytes, 0);
        IdeMachine.Pattern(_small.Bytes.Length, 2).CopyTo(_small.Bytes, 0);
        _dma = new DmaController(_machine.Memory);
        _dma.Map(_machine.Board.Ports);
        _floppy = new FloppyController(_dma, _machine.Board.Interrupts, _disk, _small);
        _floppy.Map(_machine.Board.Ports);
        _machine.Board.Redirect(FloppyController.Irq, Vector);
        _buffer = _machine.Allocate(0x1_0000, 0x1_0000);
        Reset();
        Out(Ccr, 0);
        Send(0x03, 0xDF, 0x02);
    }

    public void Dispose()
    {
        _floppy.Dispose();
        _machine.Dispose();
    }

    [Fact]
    public void A_reset_tells_of_four_drives_and_then_of_nothing()
    {
        Out(Dor, 0x00);
        Assert.Equal(0, In(Msr));
        Out(Dor, 0x0C);
        Assert.True(Interrupted());
        for (var drive = 0; drive < 4; drive++)
            Assert.Equal([(byte)(0xC0 | drive), 0], Ask(2, 0x08));
        Assert.Equal([0x80], Ask(1, 0x08));

        // CONFIGURE without polling: no interrupt.
        Send(0x13, 0, 0x10, 0);
        Ask(1, 0x94);
        Out(Dor, 0x08);
        Out(Dor, 0x0C);
        Assert.False(Interrupted());
        Assert.Equal([0x80], Ask(1, 0x08));
    }

    [Fact]
    public void The_controller_says_what_it_is()
    {
        Assert.Equal([0x90], Ask(1, 0x10));
        Assert.Equal([0x80], Ask(1, 0x1F));
        Assert.Equal([0x10], Ask(1, 0x94));
        Send(0x13, 0, 0x5A, 7);
        Send(0x12, 0x84);
        var registers = Ask(10, 0x0E);
        Assert.Equal([0xDF, 0x02, 0, 0x84, 0x5A, 7], registers[4..]);
        Assert.Equal([0x00], Ask(1, 0x14));
        Assert.Equal(0x41, _floppy.CmosDriveTypes);
        Assert.Equal(0x41, _floppy.CmosEquipmentBits);
        Assert.Equal([0x38], Ask(1, 0x04, 0));
        Assert.Equal([0x79], Ask(1, 0x04, 1));
    }

    [Fact]
    public void Seeking_interrupts_and_resets_the_disk_change_line()
    {
        Out(Dor, 0x1C);
        Assert.Equal(0x80, In(Dir));
        Send(0x0F, 0, 10);
        Assert.True(Interrupted());
        Assert.Equal(0x81, In(Msr));
        Assert.Equal([0x20, 10], Ask(2, 0x08));
        Assert.Equal(0x80, In(Msr));
        Assert.Equal(0, In(Dir));
        Send(0x8F, 0, 3);
        Assert.Equal([0x20, 7], Ask(2, 0x08));
        Send(0xCF, 0, 80);
        Assert.Equal([0x20, 87], Ask(2, 0x08));

        // 79 steps do not suffice.
        Send(0x07, 0);
        Assert.Equal([0x70, 8], Ask(2, 0x08));
        Send(0x07, 0);
        Assert.Equal([0x20, 0], Ask(2, 0x08));
        Send(0x07, 3);
        Assert.Equal([0x73, 0], Ask(2, 0x08));
    }

    [Fact]
    public void Reading_ends_with_the_terminal_count()
    {
        Seek(0, 5);
        SetDma(3 * Sector, write: true);
        Assert.Equal([0x04, 0, 0, 5, 1, 7, 2], Ask(7, 0xE6, 0x04, 5, 1, 4, 2, 18, 0x1B, 0xFF));
        Assert.Equal(Contents(5, 1, 4, 3), _machine.Get(_buffer, 3 * Sector));

        // The status of the DMA controller tells of it, once.
        Assert.Equal(4, In(0x08) & 4);
        Assert.Equal(0, In(0x08) & 4);
    }

    [Fact]
    public void Multi_track_goes_on_at_the_other_side_and_stops_at_the_cylinder()
    {
        Seek(0, 2);
        SetDma(36 * Sector, write: true);
        Assert.Equal([0x04, 0, 0, 3, 0, 1, 2], Ask(7, 0xE6, 0x00, 2, 0, 1, 2, 18, 0x1B, 0xFF));
        Assert.Equal(Contents(2, 0, 1, 36), _machine.Get(_buffer, 36 * Sector));

        // More is wanted than the cylinder has.
        SetDma(40 * Sector, write: true);
        Assert.Equal([0x44, 0x80, 0, 3, 0, 1, 2], Ask(7, 0xE6, 0x00, 2, 0, 1, 2, 18, 0x1B, 0xFF));
        SetDma(20 * Sector, write: true);
        Assert.Equal([0x40, 0x80, 0, 3, 0, 1, 2], Ask(7, 0x46, 0x00, 2, 0, 1, 2, 18, 0x1B, 0xFF));
    }

    [Fact]
    public void Writing_reaches_the_image_and_read_only_disks_refuse()
    {
        var data = IdeMachine.Pattern(4 * Sector, 7);
        _machine.Memory.Write(_buffer, data);
        Seek(0, 9);
        SetDma(4 * Sector, write: false);
        Assert.Equal([0x04, 0, 0, 9, 1, 3, 2], Ask(7, 0xC5, 0x00, 9, 0, 17, 2, 18, 0x1B, 0xFF));
        Assert.Equal(data, Contents(9, 0, 17, 4));
        Out(Ccr, 2);
        Seek(1, 0);
        SetDma(Sector, write: false);
        Assert.Equal([0x41, 2, 0, 0, 0, 1, 2], Ask(7, 0xC5, 0x01, 0, 0, 1, 2, 9, 0x1B, 0xFF));
    }

    [Fact]
    public void Formatting_fills_the_sectors_that_the_host_names()
    {
        Seek(0, 3);
        for (byte sector = 1; sector <= 18; sector++)
            _machine.Memory.Write(_buffer + (ulong)(sector - 1) * 4, new byte[] { 3, 1, sector, 2 });
        SetDma(18 * 4, write: false);
        Assert.Equal(0x04, Ask(7, 0x4D, 0x04, 2, 18, 0x6C, 0xF6)[0]);
        Assert.All(Contents(3, 1, 1, 18), value => Assert.Equal(0xF6, value));
        Assert.NotEqual(0xF6, Contents(4, 0, 1, 1).Distinct().First());
    }

    [Fact]
    public void Without_dma_each_byte_is_fetched()
    {
        Send(0x03, 0xDF, 0x03);
        Seek(0, 1);
        Send(0x46, 0, 1, 0, 18, 2, 18, 0x1B, 0xFF);
        var data = new byte[Sector];
        for (var i = 0; i < Sector; i++)
        {
            Assert.Equal(0xF0, In(Msr));
            Assert.True(Interrupted());
            data[i] = In(Fifo);
        }

        // No terminal count comes, so that the end of the track is one.
        Assert.Equal([0x40, 0x80, 0, 2, 0, 1, 2], Results(7));
        Assert.Equal(Contents(1, 0, 18, 1), data);
        Send(0x45, 0, 1, 0, 18, 2, 18, 0x1B, 0xFF);
        for (var i = 0; i < Sector; i++)
        {
            Assert.Equal(0xB0, In(Msr));
            Out(Fifo, (byte)i);
        }

        Assert.Equal(0x80, Results(7)[1]);
        Assert.Equal(Enumerable.Range(0, Sector).Select(i => (byte)i), Contents(1, 0, 18, 1));
    }

    [Fact]
    public void What_is_not_there_is_not_found()
    {
        Seek(0, 5);
        SetDma(Sector, write: true);
        Assert.Equal([0x40, 4, 0x10], Ask(7, 0x46, 0, 6, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);
        Assert.Equal([0x40, 4, 0], Ask(7, 0x46, 0, 5, 0, 19, 2, 25, 0x1B, 0xFF)[..3]);
        Assert.Equal([0x40, 4, 0], Ask(7, 0x46, 0, 5, 0, 1, 3, 18, 0x1B, 0xFF)[..3]);

        // With an implied seek the cylinder is reached first.
        Send(0x13, 0, 0x57, 0);
        Assert.Equal([0, 0, 0], Ask(7, 0x46, 0, 6, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);

        // The wrong data rate, single density, no drive.
        Out(Ccr, 2);
        Assert.Equal([0x40, 1, 0], Ask(7, 0x46, 0, 6, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);
        Out(Ccr, 0);
        Assert.Equal([0x40, 1, 0], Ask(7, 0x06, 0, 6, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);
        Assert.Equal([0x43, 1, 0], Ask(7, 0x4A, 3)[..3]);

        // The DMA channel is masked.
        Out(0x0A, 6);
        Assert.Equal([0x40, 0x10, 0], Ask(7, 0x46, 0, 6, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);
    }

    [Fact]
    public void Read_id_tells_one_sector_after_the_other()
    {
        Seek(0, 4);
        Assert.Equal([0x04, 0, 0, 4, 1, 1, 2], Ask(7, 0x4A, 4));
        Assert.Equal([0x04, 0, 0, 4, 1, 2, 2], Ask(7, 0x4A, 4));
        Assert.True(Interrupted());
    }

    [Fact]
    public void Verify_read_track_and_scan()
    {
        Seek(0, 4);
        Assert.Equal([0x00, 0, 0], Ask(7, 0x56, 0, 4, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);
        Assert.Equal([0x40, 4, 0], Ask(7, 0x56, 0, 4, 0, 1, 2, 20, 0x1B, 0xFF)[..3]);
        SetDma(2 * Sector, write: true);
        Assert.Equal([0x00, 0, 0], Ask(7, 0x42, 0, 4, 0, 9, 2, 18, 0x1B, 0xFF)[..3]);
        Assert.Equal(Contents(4, 0, 1, 2), _machine.Get(_buffer, 2 * Sector));
        _machine.Memory.Write(_buffer, Contents(4, 0, 7, 1));
        _machine.Memory.Write(_buffer + Sector, Contents(4, 0, 7, 1));
        SetDma(4 * Sector, write: false);
        Assert.Equal([0x00, 0, 8, 4, 0, 7], Ask(7, 0x51, 0, 4, 0, 6, 2, 18, 0x1B, 1)[..6]);
        SetDma(Sector, write: false);
        Assert.Equal([0x00, 0, 4], Ask(7, 0x51, 0, 4, 0, 9, 2, 18, 0x1B, 1)[..3]);
    }

    [Fact]
    public void A_disk_of_another_kind_is_put_in()
    {
        Seek(0, 5);
        Assert.Equal(0, In(Dir));
        Assert.True(_floppy.Drives[0].Eject(force: false));
        Assert.Equal(0x80, In(Dir));
        Seek(0, 6);
        Assert.Equal(0x80, In(Dir));
        Assert.Equal([0x40, 1, 0], Ask(7, 0x4A, 0)[..3]);
        _floppy.Drives[0].Insert(_small);
        Seek(0, 7);
        Assert.Equal(0, In(Dir));
        Out(Ccr, 2);
        SetDma(Sector, write: true);
        Assert.Equal(0, Ask(7, 0x46, 0, 7, 0, 9, 2, 9, 0x1B, 0xFF)[0]);
        Assert.Equal(_small.Bytes.AsSpan(((7 * 2 + 0) * 9 + 8) * Sector, Sector).ToArray(), _machine.Get(_buffer, Sector));
    }

    [Fact]
    public void An_image_may_lack_its_end()
    {
        _floppy.Drives[0].Insert(new MemoryDisk(2000 * Sector));
        Seek(0, 60);
        SetDma(Sector, write: true);
        Assert.Equal(0, Ask(7, 0x46, 0, 60, 0, 1, 2, 18, 0x1B, 0xFF)[0]);
        Assert.Equal(new byte[Sector], _machine.Get(_buffer, Sector));
        SetDma(Sector, write: false);
        Assert.Equal([0x40, 0x20, 0], Ask(7, 0x45, 0, 60, 0, 1, 2, 18, 0x1B, 0xFF)[..3]);
    }

    [Theory]
    [InlineData(1296384, 80, 2, 18)]
    [InlineData(163840, 40, 1, 8)]
    [InlineData(368640, 40, 2, 9)]
    [InlineData(737280, 80, 2, 9)]
    [InlineData(1228800, 80, 2, 15)]
    [InlineData(1474560, 80, 2, 18)]
    [InlineData(2949120, 80, 2, 36)]
    public void Sizes_tell_geometries(int length, int cylinders, int heads, int sectors)
    {
        var geometry = FloppyGeometry.Of((ulong)length)!;
        Assert.Equal((cylinders, heads, sectors), (geometry.Cylinders, geometry.Heads, geometry.Sectors));
        Assert.Null(FloppyGeometry.Of((ulong)length + 1));
    }

    [Fact]
    public void Ports_survive_100_000_random_accesses()
    {
        var random = new Random(61);
        byte[] commands = [0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x14, 0x16, 0x19, 0x1D];
        for (var i = 0; i < 100_000; i++)
        {
            switch (random.Next(10))
            {
                case 0:
                    Out((ushort)(0x3F2 + random.Next(6) % 4), (byte)random.Next(256));
                    break;
                case 1:
                    Out((ushort)random.Next(0x10), (byte)random.Next(256));
                    break;
                case 2:
                    Out((ushort)(random.Next(2) == 0 ? 0x81 + random.Next(15) : 0xC0 + random.Next(32)), (byte)random.Next(256));
                    break;
                case 3:
                    _machine.Board.Ports.Read((ushort)(0x3F2 + random.Next(6)), 1 << random.Next(3));
                    break;
                case 4 when random.Next(8) == 0:
                    _floppy.Drives[random.Next(2)].Insert(random.Next(2) == 0 ? _disk : new MemoryDisk(368640));
                    break;
                case 5 when random.Next(8) == 0:
                    _floppy.Drives[random.Next(2)].Eject(false);
                    break;
                case 6:
                    Out(Dor, 0x0C);
                    Out(Ccr, (byte)random.Next(4));
                    Out(0x0A, 2);
                    break;
                default:
                    Out(Fifo, (byte)(commands[random.Next(commands.Length)] | random.Next(2) << 6 | random.Next(2) << 7));
                    for (var bytes = random.Next(9); bytes > 0; bytes--)
                        Out(Fifo, (byte)(random.Next(4) == 0 ? random.Next(256) : random.Next(4)));
                    for (var bytes = random.Next(20); bytes > 0; bytes--)
                        In(Fifo);
                    break;
            }
        }

        _floppy.Drives[0].Insert(_disk);
        Out(0x0D, 0);
        Out(0xDA, 0);
        Out(0xD6, 0xC0);
        Out(0xD4, 0);
        Reset();
        Ask(1, 0x14);
        Out(Ccr, 0);
        Send(0x03, 0xDF, 0x02);
        Reading_ends_with_the_terminal_count();
    }

    private byte[] Contents(int cylinder, int head, int sector, int count) =>
        _disk.Bytes.AsSpan(((cylinder * 2 + head) * 18 + sector - 1) * Sector, count * Sector).ToArray();

    private void Reset()
    {
        Out(Dor, 0x08);
        Out(Dor, 0x0C);
        while (In(Msr) is var status && (status & 0x40) != 0)
            In(Fifo);
        for (var i = 0; i < 4; i++)
            Ask(2, 0x08);
        while (Interrupted())
        {
        }
    }

    private void Seek(int drive, byte cylinder)
    {
        Send(0x0F, (byte)drive, cylinder);
        Ask(2, 0x08);
        _ = Interrupted();
    }

    /// <summary>Channel 2 in single mode, as drivers program it.</summary>
    private void SetDma(int length, bool write)
    {
        Out(0x0A, 6);
        Out(0x0B, (byte)(write ? 0x46 : 0x4A));
        Out(0x0C, 0);
        Out(0x04, (byte)_buffer);
        Out(0x04, (byte)(_buffer >> 8));
        Out(0x81, (byte)(_buffer >> 16));
        Out(0x05, (byte)(length - 1));
        Out(0x05, (byte)((length - 1) >> 8));
        Out(0x0A, 2);
    }

    private byte[] Ask(int results, params byte[] command)
    {
        Send(command);
        return Results(results);
    }

    private void Send(params byte[] command)
    {
        foreach (var value in command)
        {
            Assert.Equal(0x80, In(Msr) & 0xC0);
            Out(Fifo, value);
        }
    }

    private byte[] Results(int count)
    {
        var result = new byte[count];
        for (var i = 0; i < count; i++)
        {
            Assert.Equal(0xD0, In(Msr) & 0xF0);
            result[i] = In(Fifo);
        }

        Assert.Equal(0x80, In(Msr) & 0xF0);
        return result;
    }

    private bool Interrupted()
    {
        if (_machine.Board.Apic.AcknowledgeInterrupt() != Vector)
            return false;
        _machine.Board.EndOfInterrupt();
        return true;
    }

    private byte In(ushort port) => _machine.Board.In(port);

    private void Out(ushort port, byte value) => _machine.Board.Out(port, value);
}
