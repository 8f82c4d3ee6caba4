using static Vivarium.Devices.Tests.ParavirtualMachine;

namespace Vivarium.Devices.Tests;

public sealed class StealTimeTests : IDisposable
{
    private const ulong Area = 0x5000;
    private const ulong Steal = Area, Version = Area + 8, Preempted = Area + 16;

    private readonly ParavirtualMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void What_the_thread_waits_from_now_on_is_stolen()
    {
        _machine.RunDelays[0] = 1_000_000;
        _machine.Write(StealTimeMsr, Area | 1);
        Assert.Equal(Area | 1, _machine.Read(StealTimeMsr));
        _machine.Cpu.EnterGuest();
        Assert.Equal(0ul, _machine.Memory.Read<ulong>(Steal));
        _machine.RunDelays[0] = 4_000_000;
        _machine.Time.Nanoseconds += 10_000_000;
        _machine.Cpu.EnterGuest();
        Assert.Equal((3_000_000ul, 2u), (_machine.Memory.Read<ulong>(Steal), _machine.Memory.Read<uint>(Version)));

        // Not asked for at every entry.
        _machine.RunDelays[0] = 9_000_000;
        _machine.Time.Nanoseconds += 9_999_999;
        _machine.Cpu.EnterGuest();
        Assert.Equal(3_000_000ul, _machine.Memory.Read<ulong>(Steal));
        _machine.Time.Nanoseconds += 1;
        _machine.Cpu.EnterGuest();
        Assert.Equal((8_000_000ul, 4u), (_machine.Memory.Read<ulong>(Steal), _machine.Memory.Read<uint>(Version)));

        // A host that does not answer once steals nothing.
        _machine.RunDelays[0] = 0;
        _machine.Time.Nanoseconds += 10_000_000;
        _machine.Cpu.EnterGuest();
        Assert.Equal(8_000_000ul, _machine.Memory.Read<ulong>(Steal));
    }

    [Fact]
    public void A_sleeping_processor_says_so_and_flushes_when_asked()
    {
        Assert.False(_machine.Cpu.EndSleep());
        _machine.Write(StealTimeMsr, Area | 1);
        _machine.Cpu.BeginSleep();
        Assert.Equal(1, _machine.Memory.Read<byte>(Preempted));
        Assert.False(_machine.Cpu.EndSleep());
        Assert.Equal(0, _machine.Memory.Read<byte>(Preempted));
        _machine.Cpu.BeginSleep();
        _machine.Memory.Write(Preempted, (byte)3);
        Assert.True(_machine.Cpu.EndSleep());
        Assert.Equal(0, _machine.Memory.Read<byte>(Preempted));
        Assert.False(_machine.Cpu.EndSleep());
    }

    [Theory]
    [InlineData(Area | 3)]
    [InlineData(Area + 32 | 1)]
    [InlineData(Area | 0x3E)]
    public void Reserved_bits_are_refused(ulong value)
    {
        _machine.Write(StealTimeMsr, Area | 1);
        Assert.False(_machine.Cpu.WriteMsr(StealTimeMsr, value));
        Assert.Equal(Area | 1, _machine.Read(StealTimeMsr));
    }

    [Theory]
    [InlineData(0ul)]
    [InlineData(RamEnd | 1)]
    [InlineData(Rom | 1)]
    [InlineData(0xFFFF_FFFF_FFFF_FFC1ul)]
    public void Where_there_is_no_ram_nothing_happens(ulong value)
    {
        _machine.Write(StealTimeMsr, value);
        _machine.Cpu.BeginSleep();
        _machine.RunDelays[0] = 5;
        _machine.Time.Nanoseconds += 10_000_000;
        _machine.Cpu.EnterGuest();
        Assert.False(_machine.Cpu.EndSleep());
        Assert.Equal(0, _machine.Memory.Read<byte>(Rom));
    }

    [Fact]
    public void Init_forgets_what_the_registers_name()
    {
        _machine.Write(StealTimeMsr, Area | 1);
        _machine.Write(SystemTimeMsr, 0x6001);
        _machine.Write(EoiMsr, 0x7001);
        _machine.Cpu.Reset();
        Assert.Equal((0ul, 0ul, 0ul), (_machine.Read(StealTimeMsr), _machine.Read(SystemTimeMsr), _machine.Read(EoiMsr)));
        _machine.Cpu.BeginSleep();
        Assert.Equal(0, _machine.Memory.Read<byte>(Preempted));
    }
}
