using static Vivarium.Devices.Tests.ParavirtualMachine;

namespace Vivarium.Devices.Tests;

public sealed class PvEoiTests : IDisposable
{
    private const ulong Byte = 0x6004;
    private const uint EoiRegister = 0xB0;

    private readonly ParavirtualMachine _machine = new();

    public PvEoiTests() => _machine.Write(EoiMsr, Byte | 1);

    private bool Offered
    {
        get => (_machine.Memory.Read<byte>(Byte) & 1) != 0;
        set => _machine.Memory.Write(Byte, (byte)(value ? 1 : 0));
    }

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void The_guest_ends_an_interrupt_by_the_byte()
    {
        Interrupt(0x40);
        Assert.Equal(0x40, _machine.Apic.AcknowledgeInterrupt());
        Assert.True(Offered);
        Assert.True(_machine.InService(0x40));
        Offered = false;
        Assert.False(_machine.InService(0x40));
        Interrupt(0x41);
        Assert.Equal(0x41, _machine.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void An_interrupt_behind_the_offer_brings_the_processor_to_look()
    {
        Interrupt(0x48);
        Assert.Equal(0x48, _machine.Apic.AcknowledgeInterrupt());
        Offered = false;

        // Of a lower priority than what has ended without a word.
        var before = _machine.Requests;
        Interrupt(0x30);
        Assert.True(_machine.Requests > before);
        Assert.Equal(0x30, _machine.Apic.AcknowledgeInterrupt());
        Assert.False(_machine.InService(0x48));
    }

    [Fact]
    public void An_offer_not_taken_is_withdrawn_for_what_waits()
    {
        Interrupt(0x48);
        Assert.Equal(0x48, _machine.Apic.AcknowledgeInterrupt());
        Interrupt(0x30);
        Assert.Equal(-1, _machine.Apic.AcknowledgeInterrupt());
        Assert.False(Offered);
        Assert.True(_machine.InService(0x48));
        var before = _machine.Requests;
        _machine.Apic.WriteMmio(EoiRegister, 4, 0);
        Assert.True(_machine.Requests > before);
        Assert.Equal(0x30, _machine.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void A_nested_interrupt_takes_the_offer_over()
    {
        Interrupt(0x40);
        Assert.Equal(0x40, _machine.Apic.AcknowledgeInterrupt());
        Interrupt(0x50);
        Assert.Equal(0x50, _machine.Apic.AcknowledgeInterrupt());
        Assert.True(Offered);
        Offered = false;
        Assert.False(_machine.InService(0x50));
        Assert.True(_machine.InService(0x40));
        _machine.Apic.WriteMmio(EoiRegister, 4, 0);
        Assert.False(_machine.InService(0x40));
    }

    [Fact]
    public void No_offer_while_another_interrupt_waits()
    {
        Interrupt(0x40);
        Interrupt(0x50);
        Assert.Equal(0x50, _machine.Apic.AcknowledgeInterrupt());
        Assert.False(Offered);
    }

    [Fact]
    public void No_offer_for_a_level_triggered_interrupt()
    {
        _machine.Interrupts.Apics.SignalMessage(0xFEE0_0000, 0x40 | 1 << 15 | 1 << 14);
        Assert.Equal(0x40, _machine.Apic.AcknowledgeInterrupt());
        Assert.False(Offered);
    }

    [Fact]
    public void A_write_to_the_local_apic_ends_it_as_well()
    {
        Interrupt(0x40);
        Assert.Equal(0x40, _machine.Apic.AcknowledgeInterrupt());
        _machine.Apic.WriteMmio(EoiRegister, 4, 0);
        Assert.False(Offered);
        Assert.False(_machine.InService(0x40));
    }

    [Fact]
    public void Switched_off_it_leaves_nothing_behind()
    {
        Interrupt(0x40);
        Assert.Equal(0x40, _machine.Apic.AcknowledgeInterrupt());
        Offered = false;
        _machine.Write(EoiMsr, 0);
        Assert.False(_machine.InService(0x40));
        Interrupt(0x40);
        Assert.Equal(0x40, _machine.Apic.AcknowledgeInterrupt());
        Assert.False(Offered);
        Assert.True(_machine.InService(0x40));
    }

    [Fact]
    public void The_task_priority_counts_what_has_ended()
    {
        Interrupt(0x48);
        Assert.Equal(0x48, _machine.Apic.AcknowledgeInterrupt());
        Interrupt(0x31);
        Offered = false;
        _machine.Apic.TaskPriority = 2;
        Assert.Equal(0x31, _machine.Apic.AcknowledgeInterrupt());
    }

    [Fact]
    public void An_open_offer_is_part_of_the_state()
    {
        Interrupt(0x40);
        Assert.Equal(0x40, _machine.Apic.AcknowledgeInterrupt());
        var apic = _machine.Apic.Save();
        var cpu = _machine.Cpu.Save();
        using var next = new ParavirtualMachine();
        next.Memory.Write(Byte, (byte)0); // the guest has taken it, as the saved memory says
        next.Cpu.Restore(cpu);
        next.Apic.Restore(apic);
        Assert.False(next.InService(0x40));
        Assert.Throws<InvalidDataException>(() => next.Cpu.Restore(cpu with { EoiEnable = RamEnd | 1 }));
        Assert.Throws<InvalidDataException>(() => next.Cpu.Restore(cpu with { PollControl = 2 }));
        Assert.Throws<InvalidDataException>(() => next.Cpu.Restore(cpu with { MigrationControl = 2 }));
        Assert.Throws<InvalidDataException>(() => next.Cpu.Restore(cpu with { Version = 0 }));
    }

    [Theory]
    [InlineData(0x6002ul)]
    [InlineData(0x6003ul)]
    [InlineData(RamEnd | 1)]
    [InlineData(Rom | 1)]
    [InlineData(0xFFFF_FFFF_FFFF_FFFDul)]
    public void Unaligned_addresses_and_those_that_are_not_ram_are_refused(ulong value)
    {
        Assert.False(_machine.Cpu.WriteMsr(EoiMsr, value));
        Assert.Equal(Byte | 1, _machine.Read(EoiMsr));
    }

    private void Interrupt(byte vector) => _machine.Interrupts.Apics.SignalMessage(0xFEE0_0000, vector);
}
