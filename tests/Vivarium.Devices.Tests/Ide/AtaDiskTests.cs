using System.Buffers.Binary;
using System.Text;

namespace Vivarium.Devices.Tests;

/// <summary>The commands of an ATA disk by PIO, and those without data.</summary>
public sealed class AtaDiskTests : IDisposable
{
    private const int Sector = IdeMachine.Sector;

    private readonly IdeMachine _ide = new();

    public AtaDiskTests() => IdeMachine.Pattern(_ide.Disk.Bytes.Length).CopyTo(_ide.Disk.Bytes, 0);

    public void Dispose() => _ide.Dispose();

    [Fact]
    public void Identify_tells_what_the_disk_is()
    {
        var words = Identify();
        Assert.Equal("HARDDISK", Text(words, 27, 40));
        Assert.Equal("SN0", Text(words, 10, 20));
        Assert.Equal(0x40, words[0]);
        Assert.Equal(16, words[3]);
        Assert.Equal(63, words[6]);
        Assert.Equal(IdeMachine.DiskSectors, words[60] | words[61] << 16);
        Assert.Equal(IdeMachine.DiskSectors, words[100] | words[101] << 16);

        // LBA and DMA; LBA48, FLUSH CACHE and FLUSH CACHE EXT; UDMA 0 to 5; 8 sectors of 512 bytes in a physical one.
        Assert.Equal(0x0300, words[49] & 0x0300);
        Assert.Equal(0x7400, words[83] & 0xF400);
        Assert.Equal(0x3F, words[88] & 0xFF);
        Assert.Equal(0x6003, words[106]);
        byte sum = 0;
        foreach (var word in words)
            sum += (byte)(word + (word >> 8));
        Assert.Equal(0, sum);
        Assert.False(_ide.Interrupted());
    }

    [Theory]
    [InlineData(0x20)]
    [InlineData(0x21)]
    public void Reading_interrupts_once_for_each_sector(byte command)
    {
        _ide.Command(command, lba: 100, count: 3);
        for (var i = 0; i < 3; i++)
        {
            Assert.True(_ide.Interrupted());
            Assert.Equal(IdeMachine.DataRequest, _ide.AlternateStatus);
            Assert.Equal(IdeMachine.DataRequest, _ide.In(IdeMachine.Status));
            Assert.False(_ide.Interrupted());
            Assert.Equal(Contents(100 + i, 1), _ide.ReadData(Sector));
        }

        Assert.False(_ide.Interrupted());
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
    }

    [Fact]
    public void Counts_of_zero_mean_256_and_65536()
    {
        _ide.Command(0x20, lba: 8, count: 0);
        Assert.Equal(Contents(8, 256), _ide.ReadData(256 * Sector));
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));

        // So many sectors the disk does not have.
        _ide.CommandExt(0x24, lba: 8, count: 0);
        Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
        Assert.Equal(0x10, _ide.In(IdeMachine.Error));
    }

    /// <summary>REP INS may ask for more than a sector at once, and gets what single accesses get.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void String_input_goes_over_ends_of_sectors(int size)
    {
        _ide.Command(0x20, lba: 8, count: 0);
        Assert.Equal(Contents(8, 256), _ide.ReadString(IdeMachine.Data, size, 256 * Sector));
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
        Assert.Equal([IdeMachine.Ready, IdeMachine.Ready], _ide.ReadString(IdeMachine.Status, 1, 2));

        // There is nothing left.
        Assert.Equal(new byte[8], _ide.ReadString(IdeMachine.Data, size, 8));
    }

    [Fact]
    public void Multiple_mode_interrupts_once_for_each_block()
    {
        Assert.Equal(0x0110, Identify()[59]);
        foreach (var wrong in new byte[] { 3, 32, 255 })
        {
            _ide.Command(0xC6, count: wrong);
            CheckAborted();
        }

        _ide.Command(0xC6, count: 4);
        CheckDone();
        Assert.Equal(0x0104, Identify()[59]);
        _ide.CommandExt(0x29, lba: 20, count: 6);
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.DataRequest, _ide.In(IdeMachine.Status));
        Assert.Equal(Contents(20, 4), _ide.ReadData(4 * Sector));
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.DataRequest, _ide.In(IdeMachine.Status));
        Assert.Equal(Contents(24, 2), _ide.ReadData(2 * Sector));
        Assert.False(_ide.Interrupted());
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));

        var data = IdeMachine.Pattern(6 * Sector, seed: 2);
        _ide.Command(0xC5, lba: 40, count: 6);
        Assert.False(_ide.Interrupted());
        _ide.WriteData(data.AsSpan(0, 4 * Sector));
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.DataRequest, _ide.In(IdeMachine.Status));
        _ide.WriteData(data.AsSpan(4 * Sector));
        CheckDone();
        Assert.Equal(data, Contents(40, 6));
        _ide.Command(0xC6, count: 0);
        CheckDone();
        Assert.Equal(0, Identify()[59]);
        _ide.Command(0xC5, lba: 40, count: 1);
        CheckAborted();
        _ide.Command(0xC4, lba: 0, count: 1);
        CheckAborted();
    }

    [Theory]
    [InlineData(0x30, false)]
    [InlineData(0x31, false)]
    [InlineData(0x34, true)]
    public void Writing_interrupts_after_each_sector(byte command, bool extended)
    {
        var data = IdeMachine.Pattern(2 * Sector, seed: 3);
        if (extended)
            _ide.CommandExt(command, lba: 7, count: 2);
        else
            _ide.Command(command, lba: 7, count: 2);
        Assert.Equal(IdeMachine.DataRequest, _ide.AlternateStatus);
        Assert.False(_ide.Interrupted());
        _ide.WriteData(data.AsSpan(0, Sector));
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.DataRequest, _ide.In(IdeMachine.Status));
        _ide.WriteData(data.AsSpan(Sector));
        CheckDone();
        Assert.Equal(data, Contents(7, 2));
    }

    [Fact]
    public void Data_moves_in_dwords_as_well()
    {
        _ide.Command(0x20, lba: 1);
        var data = new byte[Sector];
        for (var i = 0; i < Sector; i += 4)
            BinaryPrimitives.WriteUInt32LittleEndian(data.AsSpan(i), _ide.ReadDataDword());
        Assert.Equal(Contents(1, 1), data);
        Assert.Equal(0u, _ide.ReadDataDword());
    }

    [Fact]
    public void Cylinders_heads_and_sectors_find_the_same_data()
    {
        // 16 heads, 63 sectors: cylinder 1, head 2, sector 3.
        const int lba = (1 * 16 + 2) * 63 + 2;
        _ide.Command(0x20, lba: 1 << 8 | 3, device: 2);
        Assert.Equal(Contents(lba, 1), _ide.ReadData(Sector));

        // 4 heads, 8 sectors.
        _ide.Command(0x91, count: 8, device: 3);
        CheckDone();
        _ide.Command(0x20, lba: 5 << 8 | 8, device: 3);
        Assert.Equal(Contents((5 * 4 + 3) * 8 + 7, 1), _ide.ReadData(Sector));
        var words = Identify();
        Assert.Equal((4, 8), (words[55], words[56]));
        Assert.Equal(words[54] * 32, words[57] | words[58] << 16);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(64, 0)]
    [InlineData(4 << 8 | 63, 15)]
    public void What_the_geometry_does_not_have_is_not_found(uint address, byte head)
    {
        _ide.Command(0x20, lba: address, device: head);
        Assert.Equal(IdeMachine.Failed, _ide.WaitReady());
        Assert.Equal(0x10, _ide.In(IdeMachine.Error));
    }

    [Theory]
    [InlineData(0x20)]
    [InlineData(0x30)]
    [InlineData(0x40)]
    [InlineData(0x70)]
    [InlineData(0xC8)]
    [InlineData(0xCA)]
    public void Nothing_is_found_beyond_the_end(byte command)
    {
        _ide.Command(command, lba: IdeMachine.DiskSectors, count: 1);
        CheckNotFound();
        _ide.Command(command, lba: 0x0FFF_FFFF, count: 0);
        CheckNotFound();
    }

    [Theory]
    [InlineData(0x24)]
    [InlineData(0x25)]
    [InlineData(0x34)]
    [InlineData(0x35)]
    [InlineData(0x3D)]
    [InlineData(0x42)]
    public void Nothing_is_found_beyond_the_end_with_48_bits(byte command)
    {
        _ide.CommandExt(command, lba: IdeMachine.DiskSectors - 1, count: 2);
        CheckNotFound();
        _ide.CommandExt(command, lba: 0xFFFF_FFFF_FFFF, count: 0xFFFF);
        CheckNotFound();
    }

    [Theory]
    [InlineData(0x00)]
    [InlineData(0x08)]
    [InlineData(0x60)]
    [InlineData(0x92)]
    [InlineData(0xA0)]
    [InlineData(0xA1)]
    [InlineData(0xB0)]
    [InlineData(0xF8)]
    [InlineData(0xFF)]
    public void Other_commands_are_aborted(byte command)
    {
        _ide.Command(command);
        CheckAborted();
    }

    [Theory]
    [InlineData(0x02, 0)]
    [InlineData(0x55, 0)]
    [InlineData(0xAA, 0)]
    [InlineData(0x66, 0)]
    [InlineData(0xCC, 0)]
    [InlineData(0x03, 0x00)]
    [InlineData(0x03, 0x0C)]
    [InlineData(0x03, 0x22)]
    [InlineData(0x03, 0x45)]
    public void Known_features_can_be_set(byte feature, byte value)
    {
        _ide.Command(0xEF, count: value, features: feature);
        CheckDone();
    }

    [Theory]
    [InlineData(0x99, 0)]
    [InlineData(0x03, 0x0D)]
    [InlineData(0x03, 0x02)]
    [InlineData(0x03, 0x23)]
    [InlineData(0x03, 0x46)]
    [InlineData(0x03, 0xFF)]
    public void Other_features_are_aborted(byte feature, byte value)
    {
        _ide.Command(0xEF, count: value, features: feature);
        CheckAborted();
    }

    [Fact]
    public void The_transfer_mode_shows_in_identify()
    {
        _ide.Command(0xEF, count: 0x44, features: 3);
        CheckDone();
        var words = Identify();
        Assert.Equal(0x103F, words[88]);
        Assert.Equal(0x0007, words[63]);
        _ide.Command(0xEF, count: 0x21, features: 3);
        CheckDone();
        words = Identify();
        Assert.Equal(0x003F, words[88]);
        Assert.Equal(0x0207, words[63]);
    }

    [Fact]
    public void Without_write_cache_each_write_is_flushed()
    {
        _ide.Command(0x30, lba: 1);
        _ide.WriteData(new byte[Sector]);
        CheckDone();
        Assert.Empty(_ide.Disk.Log);
        _ide.Command(0xEF, features: 0x82);
        Assert.Equal(IdeMachine.Ready, _ide.WaitReady());
        Assert.Equal(0, Identify()[85] & 0x20);
        Assert.Single(_ide.Disk.Log);
        _ide.Command(0x30, lba: 1);
        _ide.WriteData(new byte[Sector]);
        Assert.Equal(IdeMachine.Ready, _ide.WaitReady());
        Assert.Equal(2, _ide.Disk.Log.Count);
        _ide.Command(0xEF, features: 0x02);
        Assert.Equal(IdeMachine.Ready, _ide.WaitReady());
        Assert.Equal(0x20, Identify()[85] & 0x20);
    }

    [Theory]
    [InlineData(0xE7)]
    [InlineData(0xEA)]
    public void Flush_lets_the_guest_go_on_and_interrupts_at_its_end(byte command)
    {
        _ide.Disk.FlushGate.Reset();
        _ide.Command(command);
        Assert.Equal(IdeMachine.Busy, _ide.AlternateStatus);
        Assert.False(_ide.Interrupted());

        // A busy device notices nothing.
        _ide.Out(IdeMachine.LbaLow, 0x77);
        _ide.Out(IdeMachine.Status, 0xEC);
        Assert.Equal(IdeMachine.Busy, _ide.AlternateStatus);
        Assert.NotEqual(0x77, _ide.In(IdeMachine.LbaLow));
        _ide.Disk.FlushGate.Set();
        Assert.True(SpinWait.SpinUntil(_ide.Interrupted, TimeSpan.FromSeconds(30)));
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
        Assert.Equal(["flush"], _ide.Disk.Log);
    }

    [Theory]
    [InlineData(0xE0, 0x00)]
    [InlineData(0xE2, 0x00)]
    [InlineData(0xE1, 0x80)]
    [InlineData(0xE3, 0x80)]
    public void Power_modes_are_told(byte command, byte mode)
    {
        _ide.Command(0xE5);
        CheckDone();
        Assert.Equal(0xFF, _ide.In(IdeMachine.Count));
        _ide.Command(command);
        CheckDone();
        _ide.Command(0xE5);
        CheckDone();
        Assert.Equal(mode, _ide.In(IdeMachine.Count));
    }

    [Fact]
    public void Only_a_reset_wakes_a_sleeping_disk()
    {
        _ide.Command(0xE6);
        CheckDone();
        _ide.Command(0xEC);
        Assert.False(_ide.Interrupted());
        _ide.Control(4);
        _ide.Control(0);
        Assert.Equal(IdeMachine.DiskSectors, Identify()[60]);
    }

    [Theory]
    [InlineData(0x10)]
    [InlineData(0x1F)]
    [InlineData(0x40)]
    [InlineData(0x41)]
    [InlineData(0x70)]
    public void Commands_of_old_are_obeyed(byte command)
    {
        _ide.Command(command, lba: 5);
        Assert.Equal(IdeMachine.Ready, _ide.WaitReady());
    }

    [Fact]
    public void A_bad_sector_is_named_and_what_is_before_it_is_read()
    {
        _ide.Disk.BadByte = 102 * Sector + 9;
        _ide.Command(0x20, lba: 100, count: 5);
        Assert.Equal(Contents(100, 2), _ide.ReadData(2 * Sector));
        CheckBadSector(left: 3);
        _ide.Command(0x40, lba: 102, count: 2);
        Assert.Equal(IdeMachine.Failed, _ide.WaitReady());
        Assert.Equal(0x40, _ide.In(IdeMachine.Error));
        Assert.Equal("bad byte", _ide.Problems[0]);

        // By cylinder 0, head 1, sector 40, which is the same sector.
        _ide.Command(0x20, lba: 40, device: 1, count: 1);
        Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
        Assert.Equal((40, 0, 0), (_ide.In(IdeMachine.LbaLow), _ide.In(IdeMachine.LbaMid), _ide.In(IdeMachine.LbaHigh)));
        Assert.Equal(1, _ide.In(IdeMachine.Device) & 0xF);
    }

    [Fact]
    public void A_failing_write_or_flush_is_an_error()
    {
        _ide.Disk.Failure = new IOException("no space");
        _ide.CommandExt(0x34, lba: 0x123, count: 2);
        _ide.WriteData(new byte[Sector]);
        CheckAborted();
        Assert.Equal(0x23, _ide.In(IdeMachine.LbaLow));
        Assert.Equal(0x01, _ide.In(IdeMachine.LbaMid));
        _ide.Command(0xEA);
        Assert.Equal(IdeMachine.Failed, _ide.WaitReady());
        Assert.Equal(0x04, _ide.In(IdeMachine.Error));
        Assert.Equal(["no space", "no space"], _ide.Problems);
    }

    [Fact]
    public void The_previous_content_is_read_with_hob()
    {
        _ide.Out(IdeMachine.LbaMid, 0x11);
        _ide.Out(IdeMachine.LbaMid, 0x22);
        _ide.Control(0x80);
        Assert.Equal(0x11, _ide.In(IdeMachine.LbaMid));
        _ide.Control(0);
        Assert.Equal(0x22, _ide.In(IdeMachine.LbaMid));

        // Any write to the command block ends it.
        _ide.Control(0x80);
        _ide.Out(IdeMachine.LbaHigh, 1);
        Assert.Equal(0x22, _ide.In(IdeMachine.LbaMid));
    }

    private ushort[] Identify()
    {
        _ide.Command(0xEC);
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.DataRequest, _ide.In(IdeMachine.Status));
        var data = _ide.ReadData(Sector);
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
        var words = new ushort[Sector / 2];
        for (var i = 0; i < words.Length; i++)
            words[i] = BinaryPrimitives.ReadUInt16LittleEndian(data.AsSpan(i * 2));
        return words;
    }

    private static string Text(ushort[] words, int word, int length)
    {
        var text = new StringBuilder();
        for (var i = 0; i < length / 2; i++)
            text.Append((char)(words[word + i] >> 8)).Append((char)(words[word + i] & 0xFF));
        return text.ToString().TrimEnd();
    }

    private byte[] Contents(int lba, int sectors) => _ide.Disk.Bytes.AsSpan(lba * Sector, sectors * Sector).ToArray();

    private void CheckDone()
    {
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
        Assert.Equal(0, _ide.In(IdeMachine.Error));
    }

    private void CheckAborted()
    {
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
        Assert.Equal(0x04, _ide.In(IdeMachine.Error));
    }

    private void CheckNotFound()
    {
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
        Assert.Equal(0x10, _ide.In(IdeMachine.Error));
    }

    private void CheckBadSector(byte left)
    {
        Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
        Assert.Equal(0x40, _ide.In(IdeMachine.Error));
        Assert.Equal(102, _ide.In(IdeMachine.LbaLow));
        Assert.Equal(left, _ide.In(IdeMachine.Count));
    }
}
