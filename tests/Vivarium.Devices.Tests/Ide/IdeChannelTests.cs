namespace Vivarium.Devices.Tests;

/// <summary>Two devices on a channel, resets, interrupts, PCI functions, saved states.</summary>
public sealed class IdeChannelTests
{
    private const int Sector = IdeMachine.Sector;

    [Fact]
    public void The_controller_is_function_1_beside_the_isa_bridge()
    {
        using var ide = new IdeMachine();
        Assert.Equal(0x7110_8086u, ide.ReadPci(0, 0x00, 4));
        Assert.Equal(0x0601_00u, ide.ReadPci(0, 0x08, 4) >> 8);
        Assert.Equal(0x80u, ide.ReadPci(0, 0x0E, 1));
        Assert.Equal(0x7111_8086u, ide.ReadPci(1, 0x00, 4));
        Assert.Equal(0x0101_80u, ide.ReadPci(1, 0x08, 4) >> 8);

        // No interrupt pin; the primary channel is on, the secondary has no devices; the bus master's 16 ports.
        Assert.Equal(0u, ide.ReadPci(1, 0x3D, 1));
        Assert.Equal(0x8000u, ide.ReadPci(1, 0x40, 4));
        ide.WritePci(1, 0x20, 4, uint.MaxValue);
        Assert.Equal(0xFFFF_FFF1u, ide.ReadPci(1, 0x20, 4));
    }

    [Fact]
    public void Each_device_has_its_own_disk_and_the_channels_their_own_interrupts()
    {
        var disks = Enumerable.Range(0, 4).Select(_ => new MemoryDisk(64 * Sector)).ToArray();
        for (byte i = 0; i < disks.Length; i++)
            disks[i].Bytes[0] = (byte)(i + 1);
        foreach (var secondary in new[] { false, true })
        {
            using var ide = new IdeMachine(secondary, disks);
            foreach (var slave in new[] { false, true })
            {
                ide.Command(0x20, device: (byte)(IdeMachine.Lba | (slave ? IdeMachine.Slave : 0)));
                Assert.True(ide.Interrupted());
                Assert.Equal((secondary ? 3 : 1) + (slave ? 1 : 0), ide.ReadData(Sector)[0]);
            }
        }
    }

    [Fact]
    public void Device_0_answers_for_a_device_1_that_is_not_there()
    {
        using var ide = new IdeMachine();
        ide.Out(IdeMachine.Device, IdeMachine.Slave);
        Assert.Equal(0, ide.In(IdeMachine.Status));
        Assert.Equal(0, ide.AlternateStatus);
        ide.Out(IdeMachine.LbaLow, 0x5A);
        Assert.Equal(0x5A, ide.In(IdeMachine.LbaLow));

        // Its commands go nowhere, its data register floats.
        ide.Out(IdeMachine.Status, 0xEC);
        Assert.False(ide.Interrupted());
        Assert.Equal(uint.MaxValue, ide.ReadDataDword());
        ide.Out(IdeMachine.Device, 0);
        Assert.Equal(IdeMachine.Ready, ide.In(IdeMachine.Status));
    }

    [Fact]
    public void A_channel_without_devices_floats()
    {
        using var ide = new IdeMachine(secondary: true);
        for (var register = IdeMachine.Error; register < 8; register++)
        {
            ide.Out(register, 0x55);
            Assert.Equal(0x7F, ide.In(register));
        }

        Assert.Equal(0x7F, ide.AlternateStatus);
        ide.Control(4);
        ide.Control(0);
        ide.StartMaster(toMemory: true);
        Assert.Equal(IdeMachine.Active, ide.MasterStatus & 7);
    }

    [Fact]
    public void A_reset_ends_everything_and_leaves_the_signature()
    {
        using var ide = new IdeMachine(false, new MemoryDisk(64 * Sector), new MemoryDisk(64 * Sector));
        ide.Command(0x20, lba: 9, count: 2, device: IdeMachine.Lba | IdeMachine.Slave);
        ide.ReadData(10);
        ide.Control(4);
        Assert.Equal(IdeMachine.Busy, ide.AlternateStatus);
        Assert.Equal(0u, ide.ReadDataDword());
        ide.Control(0);
        CheckSignature(ide);
        ide.Out(IdeMachine.Device, IdeMachine.Slave);
        Assert.Equal((1, 1), (ide.In(IdeMachine.Count), ide.In(IdeMachine.LbaLow)));
    }

    [Fact]
    public void A_reset_waits_for_the_host()
    {
        using var ide = new IdeMachine();
        ide.Disk.FlushGate.Reset();
        ide.Command(0xE7);
        ide.Control(4);
        ide.Control(0);
        Assert.Equal(IdeMachine.Busy, ide.AlternateStatus);
        ide.Disk.FlushGate.Set();
        Assert.Equal(IdeMachine.Ready, ide.WaitReady());
        CheckSignature(ide);
        Assert.False(ide.Interrupted());
    }

    [Fact]
    public void Diagnostics_reset_both_and_interrupt()
    {
        using var ide = new IdeMachine(false, new MemoryDisk(64 * Sector), new MemoryDisk(64 * Sector));
        ide.Command(0x90, lba: 0x1234, device: IdeMachine.Slave);
        Assert.True(ide.Interrupted());
        CheckSignature(ide);
    }

    [Fact]
    public void Settings_survive_a_reset_unless_they_are_to_revert()
    {
        using var ide = new IdeMachine();
        ide.Command(0xC6, count: 0);
        ide.Control(4);
        ide.Control(0);
        ide.Command(0xC4, count: 8);
        Assert.Equal(IdeMachine.Failed, ide.In(IdeMachine.Status));
        ide.Command(0xEF, features: 0xCC);
        ide.Control(4);
        ide.Control(0);
        ide.Command(0xC4, count: 8);
        Assert.Equal(IdeMachine.DataRequest, ide.In(IdeMachine.Status));
    }

    [Fact]
    public void Reading_status_takes_the_interrupt_back_and_alternate_status_does_not()
    {
        using var ide = new IdeMachine();
        ide.Command(0xE1);
        Assert.True(ide.Interrupted());
        Assert.Equal(IdeMachine.Ready, ide.AlternateStatus);

        // Still asserted: the next command's interrupt is no new edge unless it falls first, which the command sees to.
        ide.Command(0xE1);
        Assert.True(ide.Interrupted());
        ide.In(IdeMachine.Status);
        ide.Control(2);
        ide.Command(0xE1);
        Assert.False(ide.Interrupted());
    }

    [Fact]
    public void A_read_only_disk_takes_no_writes()
    {
        using var ide = new IdeMachine(false, new MemoryDisk(64 * Sector) { ReadOnly = true });
        foreach (var command in new byte[] { 0x30, 0xCA })
        {
            ide.Command(command, lba: 1);
            Assert.Equal(IdeMachine.Failed, ide.In(IdeMachine.Status));
            Assert.Equal(0x04, ide.In(IdeMachine.Error));
        }
    }

    [Fact]
    public void A_read_under_way_goes_on_after_a_restore()
    {
        var contents = IdeMachine.Pattern(64 * Sector);
        using var ide = new IdeMachine(false, new MemoryDisk(64 * Sector));
        contents.CopyTo(ide.Disk.Bytes, 0);
        ide.Command(0xC6, count: 2);
        ide.Command(0xC4, lba: 10, count: 5);
        ide.In(IdeMachine.Status);
        var first = ide.ReadData(700);
        var state = ide.Ide.Save();

        using var other = new IdeMachine(false, new MemoryDisk(64 * Sector));
        contents.CopyTo(other.Disk.Bytes, 0);
        other.Ide.Restore(state);
        var rest = other.ReadData(5 * Sector - 700);
        Assert.Equal(contents.AsSpan(10 * Sector, 5 * Sector).ToArray(), (byte[])[.. first, .. rest]);
        Assert.Equal(IdeMachine.Ready, other.In(IdeMachine.Status));
        Assert.Equal(ide.ReadPci(1, 0x20, 4), other.ReadPci(1, 0x20, 4));
    }

    [Fact]
    public void A_dma_that_waits_goes_on_after_a_restore()
    {
        using var ide = new IdeMachine();
        ide.SetRegions((ide.Machine.Allocate(Sector), Sector));
        ide.Command(0xCA, lba: 3);
        var state = ide.Ide.Save();
        using var other = new IdeMachine();
        other.Ide.Restore(state);
        var data = IdeMachine.Pattern(Sector);
        other.SetRegions((other.Machine.Put(data), Sector));
        other.StartMaster(toMemory: false);
        Assert.Equal(IdeMachine.Ready, other.In(IdeMachine.Status));
        Assert.Equal(data, other.Disk.Bytes.AsSpan(3 * Sector, Sector).ToArray());
    }

    public static TheoryData<string> BadStates => [.. s_badStates.Keys];

    private static readonly Dictionary<string, Func<AtaDeviceState, AtaDeviceState>> s_badStates = new()
    {
        ["version"] = state => state with { Version = 99 },
        ["no transfer"] = state => state with { Transfer = null },
        ["registers"] = state => state with { Transfer = state.Transfer! with { Registers = [] } },
        ["heads"] = state => state with { Heads = 0 },
        ["sectors"] = state => state with { SectorsPerTrack = 0 },
        ["multiple"] = state => state with { Multiple = 3 },
        ["beyond the end"] = state => state with { Lba = ulong.MaxValue },
        ["too many left"] = state => state with { Left = uint.MaxValue },
        ["position"] = state => state with { Transfer = state.Transfer! with { Position = -1 } },
        ["block end"] = state => state with { Transfer = state.Transfer! with { BlockEnd = int.MaxValue } },
        ["buffer"] = state => state with { Transfer = state.Transfer! with { Buffer = [1] } },
        ["block"] = state => state with { Block = 17 },
        ["buffered"] = state => state with { Buffered = 1000 },
        ["buffer start"] = state => state with { BufferStart = int.MaxValue },
        ["dma"] = state => state with { Transfer = state.Transfer! with { Dma = 1, DmaLeft = 1 } },
        ["trim"] = state => state with { Trim = true, Transfer = state.Transfer! with { Dma = 2, DmaLeft = ulong.MaxValue & ~511ul } },
    };

    [Theory]
    [MemberData(nameof(BadStates))]
    public void A_damaged_state_is_refused(string what)
    {
        using var ide = new IdeMachine(false, new MemoryDisk(64 * Sector));
        ide.Command(0x20, lba: 10, count: 5);
        var state = ide.Ide.Save();
        ide.Ide.Restore(state);
        var channel = state.Channels[0];
        var bad = state with { Channels = [channel with { Device0 = s_badStates[what](channel.Device0!) }, state.Channels[1]] };
        Assert.Throws<InvalidDataException>(() => ide.Ide.Restore(bad));
    }

    private static void CheckSignature(IdeMachine ide)
    {
        Assert.Equal(IdeMachine.Ready, ide.AlternateStatus);
        Assert.Equal(1, ide.In(IdeMachine.Error));
        Assert.Equal((1, 1, 0, 0, 0), (ide.In(IdeMachine.Count), ide.In(IdeMachine.LbaLow), ide.In(IdeMachine.LbaMid), ide.In(IdeMachine.LbaHigh), ide.In(IdeMachine.Device)));
    }
}
