using static Vivarium.Devices.Tests.ParavirtualMachine;

namespace Vivarium.Devices.Tests;

public sealed class HypercallTests : IDisposable
{
    private const ulong VapicPollIrq = 1, KickCpu = 5, ClockPairing = 9, SendIpi = 10, SchedYield = 11, MapGpaRange = 12;
    private const ulong Area = 0x7000;

    private readonly ParavirtualMachine _machine = new(processors: 4);

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData(0ul)]
    [InlineData(2ul)]
    [InlineData(3ul)]
    [InlineData(4ul)]
    [InlineData(8ul)]
    [InlineData(MapGpaRange)]
    [InlineData(13ul)]
    [InlineData(0x1_0000_0005ul)]
    [InlineData(ulong.MaxValue)]
    public void Unknown_calls_say_so(ulong number) => Assert.Equal(-1000, _machine.Call(number));

    [Theory]
    [InlineData(KickCpu)]
    [InlineData(SendIpi)]
    [InlineData(99ul)]
    public void Only_the_kernel_may_call(ulong number)
    {
        for (var cpl = 1; cpl <= 3; cpl++)
            Assert.Equal(-1, _machine.Call(number, 0, 1, cpl: cpl));
        Assert.Equal([0, 0, 0, 0], _machine.Unhalts);
    }

    [Fact]
    public void Poll_and_yield_succeed()
    {
        Assert.Equal(0, _machine.Call(VapicPollIrq));
        Assert.Equal(0, _machine.Call(SchedYield, 0));
        Assert.Equal(0, _machine.Call(SchedYield, 3));
        Assert.Equal(0, _machine.Call(SchedYield, ulong.MaxValue));
    }

    [Fact]
    public void A_kick_reaches_the_processor_with_the_apic_id()
    {
        Assert.Equal(0, _machine.Call(KickCpu, 0, 2));
        Assert.Equal([0, 0, 1, 0], _machine.Unhalts);
        Assert.Equal(0, _machine.Call(KickCpu, 0, 4));
        Assert.Equal(0, _machine.Call(KickCpu, 0, ulong.MaxValue));
        Assert.Equal([0, 0, 1, 0], _machine.Unhalts);
    }

    [Theory]
    [InlineData(0b1010ul, 0ul, 0ul, true, new[] { 1, 3 })]
    [InlineData(0b111ul, 0ul, 1ul, true, new[] { 1, 2, 3 })]
    [InlineData(ulong.MaxValue, ulong.MaxValue, 0ul, true, new[] { 0, 1, 2, 3 })]
    [InlineData(ulong.MaxValue, ulong.MaxValue, 3ul, true, new[] { 3 })]
    [InlineData(ulong.MaxValue, ulong.MaxValue, 4ul, true, new int[0])]
    [InlineData(ulong.MaxValue, ulong.MaxValue, 0xFFFF_FFFFul, true, new int[0])]
    [InlineData(1ul, 0ul, 0x1_0000_0001ul, true, new[] { 1 })]
    [InlineData(0ul, 1ul, 0xFFFF_FFE1ul, false, new int[0])]
    public void An_ipi_reaches_those_in_the_set(ulong low, ulong high, ulong first, bool is64Bit, int[] targets)
    {
        Assert.Equal(targets.Length, _machine.Call(SendIpi, low, high, first, 0x55, is64Bit));
        for (var i = 0; i < 4; i++)
            Assert.Equal(targets.Contains(i) ? 0x55 : -1, _machine.Apics[i].AcknowledgeInterrupt());
    }

    [Fact]
    public void The_second_word_begins_behind_the_first()
    {
        using var machine = new ParavirtualMachine(processors: 66);
        Assert.Equal(1, machine.Call(SendIpi, 0, 0b10, 0, 0x60));
        Assert.Equal(0x60, machine.Apics[65].AcknowledgeInterrupt());
        Assert.Equal(1, machine.Call(SendIpi, 0, 0b10, 0, 0x61, is64Bit: false));
        Assert.Equal(0x61, machine.Apics[33].AcknowledgeInterrupt());
    }

    [Fact]
    public void An_ipi_may_be_an_nmi()
    {
        Assert.Equal(2, _machine.Call(SendIpi, 0b110, 0, 0, 4 << 8));
        Assert.Equal(2, _machine.Nmis);
    }

    [Theory]
    [InlineData(1ul << 11 | 0x55)]
    [InlineData(1ul << 18 | 0x55)]
    [InlineData(2ul << 18 | 0x55)]
    public void Logical_destinations_and_shorthands_are_invalid(ulong command)
    {
        Assert.Equal(-22, _machine.Call(SendIpi, 1, 0, 0, command));
        Assert.Equal(-1, _machine.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void Clocks_are_paired()
    {
        _machine.TscOffsets[0] = 1_000;
        _machine.Time.Nanoseconds = 1_234_567_800;
        _machine.Memory.Write(Area + 24, ulong.MaxValue);
        Assert.Equal(0, _machine.Call(ClockPairing, Area, 0));
        Assert.Equal(_machine.Clock.UnixNanoseconds, (_machine.Memory.Read<long>(Area) * 1_000_000_000) + _machine.Memory.Read<long>(Area + 8));
        Assert.Equal(_machine.HostTsc + 1_000, _machine.Memory.Read<ulong>(Area + 16));
        Assert.Equal(0ul, _machine.Memory.Read<ulong>(Area + 24));
    }

    [Theory]
    [InlineData(RamEnd - 63)]
    [InlineData(RamEnd)]
    [InlineData(Rom)]
    [InlineData(ulong.MaxValue)]
    public void A_pair_that_cannot_be_written_is_a_fault(ulong address) => Assert.Equal(-14, _machine.Call(ClockPairing, address, 0));

    [Fact]
    public void Only_the_wall_clock_is_paired() => Assert.Equal(-95, _machine.Call(ClockPairing, Area, 1));
}
