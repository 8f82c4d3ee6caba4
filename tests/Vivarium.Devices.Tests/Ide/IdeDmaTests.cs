using System.Buffers.Binary;

namespace Vivarium.Devices.Tests;

/// <summary>The bus master: lists of regions, and what its status says afterwards.</summary>
public sealed class IdeDmaTests : IDisposable
{
    private const int Sector = IdeMachine.Sector;
    private const byte Done = IdeMachine.MasterInterrupt;

    private readonly IdeMachine _ide = new();

    public IdeDmaTests() => IdeMachine.Pattern(_ide.Disk.Bytes.Length).CopyTo(_ide.Disk.Bytes, 0);

    public void Dispose() => _ide.Dispose();

    [Theory]
    [InlineData(0xC8, false)]
    [InlineData(0xC9, false)]
    [InlineData(0x25, true)]
    public void Reading_fills_the_regions(byte command, bool extended)
    {
        var first = _ide.Machine.Allocate(0x2000, 0x1000);
        _ide.SetRegions((first + 0x102, 600), (first + 0x1000, 3 * Sector - 600));
        Give(command, 33, 3, extended);
        Assert.Equal(IdeMachine.DataRequest, _ide.AlternateStatus);
        Assert.Equal(0, MasterState());
        _ide.StartMaster(toMemory: true);
        CheckDone();
        Assert.Equal(Done, MasterState());
        _ide.StopMaster();
        Assert.Equal(Contents(33, 3), (byte[])[.. _ide.Machine.Get(first + 0x102, 600), .. _ide.Machine.Get(first + 0x1000, 3 * Sector - 600)]);

        // The interrupt bit is cleared by writing one.
        _ide.MasterOut(2, 1, Done);
        Assert.Equal(0, MasterState());
    }

    [Theory]
    [InlineData(0xCA, false, 0)]
    [InlineData(0xCB, false, 0)]
    [InlineData(0x35, true, 0)]
    [InlineData(0x3D, true, 1)]
    public void Writing_takes_from_the_regions(byte command, bool extended, int flushes)
    {
        var data = IdeMachine.Pattern(4 * Sector, seed: 5);
        var address = _ide.Machine.Put(data);
        _ide.SetRegions((address, 2 * Sector), (address + 2 * Sector, 2 * Sector));

        // The bus master may be started before the command.
        _ide.StartMaster(toMemory: false);
        Assert.Equal(IdeMachine.Active, MasterState());
        Give(command, 50, 4, extended);
        Assert.Equal(IdeMachine.Ready, _ide.WaitReady());
        Assert.Equal(Done, MasterState());
        Assert.Equal(data, Contents(50, 4));
        Assert.Equal(flushes, _ide.Disk.Log.Count);
    }

    [Fact]
    public void A_length_of_zero_means_64_KiB()
    {
        const int length = 0x1_0000;
        var address = _ide.Machine.Allocate(length, length);
        _ide.SetRegions((address, 0));
        Give(0xC8, 10, length / Sector);
        _ide.StartMaster(toMemory: true);
        CheckDone();
        Assert.Equal(Done, MasterState());
        Assert.Equal(Contents(10, length / Sector), _ide.Machine.Get(address, length));
    }

    [Fact]
    public void Regions_longer_than_the_transfer_leave_the_bus_master_active()
    {
        var address = _ide.Machine.Put(new byte[4 * Sector]);
        _ide.SetRegions((address, 2 * Sector), (address + 2 * Sector, 2 * Sector));
        Give(0xC8, 0, 3);
        _ide.StartMaster(toMemory: true);
        CheckDone();
        Assert.Equal(Done | IdeMachine.Active, MasterState());
        Assert.Equal(Contents(0, 3), _ide.Machine.Get(address, 3 * Sector));
        Assert.Equal(new byte[Sector], _ide.Machine.Get(address + 3 * Sector, Sector));
        _ide.StopMaster();
        Assert.Equal(Done, MasterState());
    }

    [Fact]
    public void Regions_shorter_than_the_transfer_can_be_followed_by_others()
    {
        var address = _ide.Machine.Put(new byte[4 * Sector]);
        _ide.SetRegions((address, 2 * Sector + 100));
        Give(0xC8, 60, 3);
        _ide.StartMaster(toMemory: true);

        // No interrupt: the device still waits.
        Assert.Equal(0, MasterState());
        Assert.False(_ide.Interrupted());
        Assert.Equal(IdeMachine.DataRequest, _ide.AlternateStatus);
        Assert.Equal(Contents(60, 2), _ide.Machine.Get(address, 2 * Sector));
        Assert.Equal(new byte[100], _ide.Machine.Get(address + 2 * Sector, 100));
        _ide.StopMaster();
        _ide.SetRegions((address + 2 * Sector, Sector));
        _ide.StartMaster(toMemory: true);
        CheckDone();
        Assert.Equal(Contents(60, 3), _ide.Machine.Get(address, 3 * Sector));
    }

    [Theory]
    [InlineData(0x0200_0000u)]
    [InlineData(0x00FF_FF00u + 0x0010_0000u)]
    [InlineData(0xFFFF_FFFEu)]
    [InlineData((uint)VirtioMachine.RomStart)]
    public void A_region_that_is_not_RAM_is_an_error(uint address)
    {
        var before = _ide.Machine.Get(VirtioMachine.RomStart, Sector);
        _ide.SetRegions((address, Sector));
        Give(0xC8, 0, 1);
        _ide.StartMaster(toMemory: true);
        Assert.Equal(IdeMachine.MasterError, MasterState());
        Assert.False(_ide.Interrupted());
        Assert.Equal(before, _ide.Machine.Get(VirtioMachine.RomStart, Sector));
        CheckThatResetHelps();
    }

    [Fact]
    public void A_list_outside_memory_is_an_error()
    {
        _ide.MasterOut(4, 4, 0xF000_0000);
        Give(0xCA, 0, 1);
        _ide.StartMaster(toMemory: false);
        Assert.Equal(IdeMachine.MasterError, MasterState());
        CheckThatResetHelps();
    }

    [Fact]
    public void A_list_without_end_is_an_error()
    {
        // 8192 regions of two bytes, none of them the last, are fewer than the command needs.
        var table = _ide.Machine.Allocate(0x1_0000, 0x1_0000);
        var entry = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(entry, (uint)VirtioMachine.HighRamStart);
        entry[4] = 2;
        for (var i = 0; i < 0x1_0000; i += 8)
            _ide.Memory.Write(table + (ulong)i, entry);
        _ide.MasterOut(4, 4, (uint)table);
        Give(0xC8, 0, 64);
        _ide.StartMaster(toMemory: true);
        Assert.Equal(IdeMachine.MasterError, MasterState());
        CheckThatResetHelps();
    }

    [Fact]
    public void Odd_addresses_and_lengths_lose_their_lowest_bit()
    {
        var address = _ide.Machine.Put(new byte[2 * Sector]);
        _ide.SetRegions((address | 1, Sector | 1));
        Give(0xC8, 3, 1);
        _ide.StartMaster(toMemory: true);
        CheckDone();
        Assert.Equal(Contents(3, 1), _ide.Machine.Get(address, Sector));
    }

    [Fact]
    public void Nothing_moves_the_wrong_way_or_without_permission()
    {
        var address = _ide.Machine.Put(new byte[Sector]);
        _ide.SetRegions((address, Sector));
        Give(0xC8, 3, 1);
        _ide.StartMaster(toMemory: false);
        Assert.Equal(IdeMachine.Active, MasterState());
        _ide.StopMaster();
        _ide.EnableBusMaster(false);
        _ide.StartMaster(toMemory: true);
        Assert.Equal(IdeMachine.Active, MasterState());
        Assert.Equal(new byte[Sector], _ide.Machine.Get(address, Sector));

        // As soon as the function may, it does.
        _ide.EnableBusMaster(true);
        CheckDone();
        Assert.Equal(Contents(3, 1), _ide.Machine.Get(address, Sector));
    }

    [Fact]
    public void A_bad_sector_ends_the_transfer_with_the_devices_error()
    {
        _ide.Disk.BadByte = 5 * Sector;
        _ide.SetRegions((_ide.Machine.Allocate(8 * Sector), 8 * Sector));
        _ide.CommandExt(0x25, lba: 1, count: 8);
        _ide.StartMaster(toMemory: true);
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.MasterInterrupt, MasterState());
        Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
        Assert.Equal(0x40, _ide.In(IdeMachine.Error));
        Assert.Equal(1, _ide.In(IdeMachine.LbaLow));
    }

    [Fact]
    public void The_interrupt_bit_follows_intrq_by_PIO_as_well()
    {
        _ide.Command(0xEC);
        Assert.Equal(Done, MasterState());
        _ide.Control(2);
        _ide.MasterOut(2, 1, Done);
        _ide.Command(0xEC);
        Assert.Equal(0, MasterState());
        Assert.False(_ide.Interrupted() && _ide.Interrupted());

        // What has been pending comes when interrupts are let through.
        _ide.Control(0);
        Assert.True(_ide.Interrupted());
    }

    [Fact]
    public void Trim_discards_what_its_ranges_say()
    {
        var ranges = new byte[Sector];
        BinaryPrimitives.WriteUInt64LittleEndian(ranges, 16ul << 48 | 8);
        BinaryPrimitives.WriteUInt64LittleEndian(ranges.AsSpan(16), 1ul << 48 | (IdeMachine.DiskSectors - 1));
        Assert.Equal(IdeMachine.Ready, Trim(ranges));
        Assert.Equal([$"discard {8 * Sector} {16 * Sector}", $"discard {(IdeMachine.DiskSectors - 1) * Sector} {Sector}"], _ide.Disk.Log);

        // One range beyond the end, and nothing is discarded.
        _ide.Disk.Log.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(ranges.AsSpan(24), 2ul << 48 | (IdeMachine.DiskSectors - 1));
        Assert.Equal(IdeMachine.Failed, Trim(ranges));
        Assert.Equal(0x10, _ide.In(IdeMachine.Error));
        Assert.Empty(_ide.Disk.Log);

        // Too many blocks, none, and something else than TRIM.
        foreach (var (count, feature) in new (ushort, byte)[] { (9, 1), (0, 1), (1, 0) })
        {
            _ide.CommandExt(0x06, count: count, features: feature);
            Assert.Equal(IdeMachine.Failed, _ide.In(IdeMachine.Status));
            Assert.Equal(0x04, _ide.In(IdeMachine.Error));
        }
    }

    private byte Trim(byte[] ranges)
    {
        _ide.SetRegions((_ide.Machine.Put(ranges), ranges.Length));
        _ide.CommandExt(0x06, count: 1, features: 1);
        _ide.StartMaster(toMemory: false);
        var status = _ide.WaitReady();
        _ide.StopMaster();
        return status;
    }

    private void Give(byte command, uint lba, int count, bool extended = false)
    {
        if (extended)
            _ide.CommandExt(command, lba, (ushort)count);
        else
            _ide.Command(command, lba, (byte)count);
    }

    /// <summary>The bus master's status without the bits that firmware has set.</summary>
    private byte MasterState() => (byte)(_ide.MasterStatus & 0x87);

    private byte[] Contents(int lba, int sectors) => _ide.Disk.Bytes.AsSpan(lba * Sector, sectors * Sector).ToArray();

    private void CheckDone()
    {
        Assert.True(_ide.Interrupted());
        Assert.Equal(IdeMachine.Ready, _ide.In(IdeMachine.Status));
    }

    private void CheckThatResetHelps()
    {
        _ide.StopMaster();
        _ide.Control(4);
        _ide.Control(0);
        var address = _ide.Machine.Put(new byte[Sector]);
        _ide.SetRegions((address, Sector));
        Give(0xC8, 9, 1);
        _ide.StartMaster(toMemory: true);
        CheckDone();
        Assert.Equal(Contents(9, 1), _ide.Machine.Get(address, Sector));
    }
}
