using static Vivarium.Devices.Tests.ParavirtualMachine;

namespace Vivarium.Devices.Tests;

public sealed class KvmClockTests : IDisposable
{
    private const ulong Area = 0x4000;
    private const ulong Other = 0x4040;
    private const byte Stable = 1, Stopped = 2;

    private readonly ParavirtualMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData(1_000_000)]
    [InlineData(19_200_000)]
    [InlineData(999_999_999)]
    [InlineData(1_000_000_000)]
    [InlineData(1_000_000_001)]
    [InlineData(2_000_000_000)]
    [InlineData(2_445_424_000)]
    [InlineData(5_700_000_000)]
    [InlineData(40_000_000_000)]
    public void A_second_of_ticks_is_a_second(ulong frequency)
    {
        using var machine = new ParavirtualMachine(tscFrequency: frequency);
        machine.Write(SystemTimeMsr, Area | 1);
        machine.Time.Nanoseconds = 1_000_000_000;
        Assert.InRange(machine.GuestTime(Area), 1_000_000_000ul - 2, 1_000_000_000ul);
    }

    [Theory]
    [InlineData(SystemTimeMsr)]
    [InlineData(0x12u)]
    public void The_guest_computes_the_time_since_power_on(uint msr)
    {
        _machine.TscOffsets[0] = unchecked(0 - 5_000_000_000ul);
        _machine.Time.Nanoseconds = 1_500_000_000;
        _machine.Write(msr, Area | 1);
        Assert.Equal(Area | 1, _machine.Read(msr));
        Assert.Equal(Stable, _machine.Memory.Read<byte>(Area + 29));
        Assert.InRange(_machine.GuestTime(Area), 1_500_000_000ul - 2, 1_500_000_000ul);
        _machine.Time.Nanoseconds = 3_600_000_000_000;
        Assert.InRange(_machine.GuestTime(Area), 3_600_000_000_000ul - 2_000, 3_600_000_000_000ul);
        Assert.Equal(_machine.GuestTime(Area), (ulong)_machine.Platform.Clock.Nanoseconds);
    }

    [Fact]
    public void All_processors_read_the_same_time()
    {
        _machine.TscOffsets[1] = 123_456_789_000;
        _machine.Write(SystemTimeMsr, Area | 1, cpu: 0);
        _machine.Time.Nanoseconds = 777_777_777;
        _machine.Write(SystemTimeMsr, Other | 1, cpu: 1);
        _machine.Time.Nanoseconds = 888_888_888;
        Assert.Equal(_machine.GuestTime(Area, 0), _machine.GuestTime(Other, 1));
    }

    [Fact]
    public void A_set_tsc_does_not_move_time()
    {
        _machine.Write(SystemTimeMsr, Area | 1);
        _machine.Time.Nanoseconds = 10_000_000;
        var before = _machine.GuestTime(Area);
        _machine.TscOffsets[0] += 1ul << 50;
        _machine.Cpu.TscMoved();
        Assert.Equal(before, _machine.GuestTime(Area));
        Assert.Equal(Stable, _machine.Memory.Read<byte>(Area + 29));
    }

    [Fact]
    public void A_pause_is_time_that_did_not_pass()
    {
        _machine.Write(SystemTimeMsr, Area | 1);
        _machine.Time.Nanoseconds = 10_000_000;
        var before = _machine.GuestTime(Area);
        _machine.Clock.Pause();
        _machine.Time.Nanoseconds += 60_000_000_000;
        Assert.Equal(before, (ulong)_machine.Platform.Clock.Nanoseconds);
        _machine.Clock.Resume();
        _machine.Cpu.EnterGuest();
        Assert.Equal(before, _machine.GuestTime(Area));
        Assert.Equal(Stable | Stopped, _machine.Memory.Read<byte>(Area + 29));
        _machine.Time.Nanoseconds += 1_000_000;
        Assert.InRange(_machine.GuestTime(Area), before + 999_998, before + 1_000_000);

        // The guest takes the flag back; it stays so while time runs.
        _machine.Memory.Write(Area + 29, Stable);
        var version = _machine.Memory.Read<uint>(Area);
        _machine.Cpu.EnterGuest();
        Assert.Equal(version, _machine.Memory.Read<uint>(Area));
        _machine.Cpu.TscMoved();
        Assert.Equal(Stable, _machine.Memory.Read<byte>(Area + 29));
    }

    [Fact]
    public void A_write_shows_in_the_version()
    {
        _machine.Memory.Write(Area, 7u);
        _machine.Write(SystemTimeMsr, Area | 1);
        Assert.Equal(10u, _machine.Memory.Read<uint>(Area));
        _machine.Cpu.TscMoved();
        Assert.Equal(12u, _machine.Memory.Read<uint>(Area));
    }

    [Theory]
    [InlineData(0x5000ul)] // not enabled
    [InlineData(RamEnd - 30 | 1)] // beyond the end of RAM
    [InlineData(RamEnd | 1)]
    [InlineData(Rom | 1)]
    [InlineData(0xFFFF_FFFF_FFFF_FFFFul)]
    [InlineData(0xFFFF_FFFF_FFFF_F001ul)]
    public void Other_addresses_are_taken_and_nothing_is_written(ulong value)
    {
        var before = Snapshot();
        _machine.Write(SystemTimeMsr, value);
        _machine.Cpu.TscMoved();
        _machine.Clock.Pause();
        _machine.Clock.Resume();
        _machine.Cpu.EnterGuest();
        Assert.Equal(value, _machine.Read(SystemTimeMsr));
        Assert.Equal(before, Snapshot());
    }

    [Theory]
    [InlineData(WallClockMsr)]
    [InlineData(0x11u)]
    public void The_wall_clock_is_what_kvmclock_began_at(uint msr)
    {
        _machine.Time.Nanoseconds = 90_000_000_000;
        _machine.Memory.Write(Area, 3u);
        _machine.Write(msr, Area);
        Assert.Equal(Area, _machine.Read(msr, cpu: 1));
        Assert.Equal(6u, _machine.Memory.Read<uint>(Area));
        var unix = (_machine.Memory.Read<uint>(Area + 4) * 1_000_000_000L) + _machine.Memory.Read<uint>(Area + 8);
        Assert.InRange(_machine.Clock.UnixNanoseconds - unix - _machine.Platform.Clock.Nanoseconds, -100, 100);
        Assert.InRange(_machine.Memory.Read<uint>(Area + 8), 0u, 999_999_999u);
    }

    [Theory]
    [InlineData(0ul)]
    [InlineData(RamEnd - 11)]
    [InlineData(Rom)]
    [InlineData(0xFFFF_FFFF_FFFF_FFFFul)]
    public void A_wall_clock_elsewhere_is_not_written(ulong value)
    {
        var before = Snapshot();
        _machine.Write(WallClockMsr, value);
        Assert.Equal(before, Snapshot());
    }

    [Fact]
    public void Time_goes_on_in_another_process()
    {
        _machine.Time.Nanoseconds = 5_000_000_000;
        _machine.Write(SystemTimeMsr, Area | 1);
        _machine.Write(WallClockMsr, Other);
        _machine.Clock.Pause();
        var platform = _machine.Platform.Save();
        var cpu = _machine.Cpu.Save();

        using var next = new ParavirtualMachine();
        next.Clock.Pause();
        next.Time.Nanoseconds = 70_000_000_000;
        next.TscOffsets[0] = 99;
        next.Platform.Restore(platform);
        next.Cpu.Restore(cpu);
        next.Clock.Resume();
        next.Cpu.EnterGuest();
        Assert.Equal((ulong)platform.Clock.Nanoseconds, next.GuestTime(Area));
        Assert.Equal(Area | 1, next.Read(SystemTimeMsr));
        Assert.Equal(Other, next.Read(WallClockMsr));
        Assert.Throws<InvalidDataException>(() => next.Platform.Restore(platform));
        next.Clock.Pause();
        Assert.Throws<InvalidDataException>(() => next.Platform.Restore(platform with { Version = 2 }));
        Assert.Throws<InvalidDataException>(() => next.Platform.Restore(platform with { Clock = new() { Nanoseconds = -1 } }));
    }

    private byte[] Snapshot()
    {
        var bytes = new byte[RamEnd + RomEnd - Rom];
        _machine.Memory.Read(0, bytes.AsSpan(0, (int)RamEnd));
        _machine.Memory.Read(Rom, bytes.AsSpan((int)RamEnd));
        return bytes;
    }
}
