using static Vivarium.Devices.Tests.ParavirtualMachine;

namespace Vivarium.Devices.Tests;

public sealed class ParavirtualMsrTests : IDisposable
{
    private readonly ParavirtualMachine _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void The_interface_owns_its_numbers_only()
    {
        Assert.All([0x11u, 0x12u, 0x4B56_4D00u, 0x4B56_4DFFu], index => Assert.True(ParavirtualCpu.OwnsMsr(index)));
        Assert.All([0x10u, 0x13u, 0x4B56_4CFFu, 0x4B56_4E00u], index => Assert.False(ParavirtualCpu.OwnsMsr(index)));
    }

    [Theory]
    [InlineData(PollControlMsr)]
    [InlineData(MigrationControlMsr)]
    public void A_switch_is_on_at_first_and_has_one_bit(uint msr)
    {
        Assert.Equal(1ul, _machine.Read(msr));
        Assert.True(_machine.Cpu.MayPoll);
        _machine.Write(msr, 0);
        Assert.Equal(0ul, _machine.Read(msr));
        Assert.Equal(msr != PollControlMsr, _machine.Cpu.MayPoll);
        Assert.False(_machine.Cpu.WriteMsr(msr, 2));
        Assert.False(_machine.Cpu.WriteMsr(msr, 1ul << 63));
        Assert.Equal(0ul, _machine.Read(msr));
    }

    [Fact]
    public void Switches_are_part_of_the_state()
    {
        _machine.Write(PollControlMsr, 0);
        _machine.Write(MigrationControlMsr, 0);
        _machine.Write(StealTimeMsr, 0x8001);
        using var next = new ParavirtualMachine();
        next.Cpu.Restore(_machine.Cpu.Save());
        Assert.Equal((0ul, 0ul, 0x8001ul), (next.Read(PollControlMsr), next.Read(MigrationControlMsr), next.Read(StealTimeMsr)));
    }

    [Theory]
    [InlineData(0x4B56_4D02u)] // asynchronous page faults are not offered
    [InlineData(0x4B56_4D06u)]
    [InlineData(0x4B56_4D07u)]
    [InlineData(0x4B56_4D09u)]
    [InlineData(0x4B56_4DFFu)]
    public void Others_do_not_exist(uint msr)
    {
        Assert.False(_machine.Cpu.ReadMsr(msr, out _));
        Assert.False(_machine.Cpu.WriteMsr(msr, 0));
        Assert.False(_machine.Cpu.WriteMsr(msr, 1));
    }
}
