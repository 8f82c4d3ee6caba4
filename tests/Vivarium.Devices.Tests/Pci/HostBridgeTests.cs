using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>The attribute map and SMRAM control of the host bridge, through its configuration space.</summary>
public sealed class HostBridgeTests : IDisposable
{
    private const int Pam0 = 0x59;
    private const int Pam1 = 0x5A;
    private const int Pam5 = 0x5E;
    private const int Smram = 0x72;
    private const ulong BiosSegment = 0xF0000;
    private const ulong FirstSegment = 0xC0000;
    private const ulong GraphicsWindow = 0xA0000;

    private readonly GuestMemory _memory = new(4 << 20);
    private readonly MmioBus _bus = new();
    private readonly MemoryRegion _ram;
    private readonly HostBridge _bridge;

    public HostBridgeTests()
    {
        _ram = _memory.Allocate(1 << 20, isRam: true);
        _memory.Map(0, _ram, 0, _ram.Length);
        var rom = _memory.Allocate(128 << 10);
        rom.Bytes.Fill(0xB1);
        var area = new LegacyArea(_memory, _ram, rom);
        area.Map(_bus);
        _bridge = new HostBridge(area);
        _bridge.Reset();
    }

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void AfterResetTheRomIsThereAndTheRestIsTheBus()
    {
        Assert.Equal(0xB1, Read(BiosSegment));
        Assert.Equal(0xB1, Read(0xE0000));
        Assert.Null(_memory.Find(FirstSegment));
        Assert.Null(_memory.Find(GraphicsWindow));
        Assert.Equal(7, WriteAndRead(0x9_FFFF, 7));
    }

    [Fact]
    public void ASegmentIsCopiedToTheRamBehindIt()
    {
        // Write-only: what is read is still the ROM, and writes reach RAM, as BIOSes copy themselves.
        _bridge.WriteConfig(Pam0, 1, 0x20);
        Assert.True(_memory.Find(BiosSegment)!.ReadOnly);
        _bus.Write(BiosSegment, 4, 0x1234_5678);
        Assert.Equal(0xB1, Read(BiosSegment));

        _bridge.WriteConfig(Pam0, 1, 0x30);
        Assert.Equal(0x1234_5678u, _memory.Read<uint>(BiosSegment));
        Assert.False(_memory.Find(BiosSegment)!.ReadOnly);

        // Locked: read-only again, now from RAM.
        _bridge.WriteConfig(Pam0, 1, 0x10);
        Assert.True(_memory.Find(BiosSegment)!.ReadOnly);
        _bus.Write(BiosSegment, 4, 0);
        Assert.Equal(0x1234_5678u, _memory.Read<uint>(BiosSegment));

        _bridge.WriteConfig(Pam0, 1, 0);
        Assert.Equal(0xB1, Read(BiosSegment));
    }

    [Fact]
    public void EachHalfOfARegisterHasASegmentOf16KiB()
    {
        _bridge.WriteConfig(Pam1, 1, 0x03);
        Assert.Equal(5, WriteAndRead(FirstSegment + 0x3FFF, 5));
        Assert.Null(_memory.Find(FirstSegment + 0x4000));
        _bridge.WriteConfig(Pam1, 1, 0x30);
        Assert.Null(_memory.Find(FirstSegment));
        Assert.Equal(6, WriteAndRead(FirstSegment + 0x4000, 6));
        _bridge.WriteConfig(Pam5, 1, 0x33);
        Assert.Equal(0, Read(0xE0000));
        Assert.Equal(0xB1, Read(0xE8000));
    }

    [Fact]
    public void SmramIsOpenedClosedAndLocked()
    {
        _bridge.WriteConfig(Smram, 1, 0x48);
        Assert.Equal(9, WriteAndRead(GraphicsWindow, 9));
        _bridge.WriteConfig(Smram, 1, 0x08);
        Assert.Null(_memory.Find(GraphicsWindow));
        _bridge.WriteConfig(Smram, 1, 0x58);
        Assert.Null(_memory.Find(GraphicsWindow));
        _bridge.WriteConfig(Smram, 1, 0x48);
        Assert.Null(_memory.Find(GraphicsWindow));
        Assert.Equal(0x1Au, _bridge.ReadConfig(Smram, 1));
    }

    /// <summary>What the legacy area leads where is all in the bridge's registers: it has no state of its own.</summary>
    [Fact]
    public void ARestoreLeadsEverySegmentWhereItLed()
    {
        _bridge.WriteConfig(Pam0, 1, 0x20);
        _bridge.WriteConfig(Pam1, 1, 0x13);
        _bridge.WriteConfig(Smram, 1, 0x48);
        var state = _bridge.Save();
        _bridge.Reset();
        _bus.Write(BiosSegment, 1, 0x11);
        _bridge.Restore(state);

        Assert.Equal(8, WriteAndRead(GraphicsWindow, 8));
        Assert.Equal(5, WriteAndRead(FirstSegment, 5));
        Assert.True(_memory.Find(FirstSegment + 0x4000)!.ReadOnly);
        _bus.Write(BiosSegment + 1, 1, 0x12);
        Assert.Equal(0xB1, Read(BiosSegment));
        Assert.Equal(0x12, _ram.Bytes[(int)BiosSegment + 1]);
        Assert.Equal(0, _ram.Bytes[(int)BiosSegment]);
    }

    /// <summary>20,000 random writes: the RAM that is mapped is always at its own address.</summary>
    [Fact]
    public void NoSequenceOfWritesLeadsElsewhere()
    {
        var random = new Random(2);
        for (var i = 0; i < 20_000; i++)
        {
            _bridge.WriteConfig(random.Next(64) * 4, 4, (uint)random.Next());
            var gpa = (ulong)random.Next(0x20) * 0x4000 + 0x8_0000;
            if (_memory.Find(gpa) is { } slot && slot.Region == _ram)
                Assert.Equal(slot.Start, (ulong)(slot.HostOffset - _ram.HostOffset));
            _bus.Write(gpa & 0xFFFF8, 8, ulong.MaxValue);
        }
    }

    private byte Read(ulong gpa) => _memory.Read<byte>(gpa);

    private byte WriteAndRead(ulong gpa, byte value)
    {
        Assert.True(_memory.TryWriteRam(gpa, [value]));
        return Read(gpa);
    }
}
