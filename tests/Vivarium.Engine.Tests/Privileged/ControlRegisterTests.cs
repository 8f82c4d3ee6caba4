using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class ControlRegisterTests : IDisposable
{
    private static readonly byte[] MovCr0Rax = [0x0F, 0x22, 0xC0];
    private static readonly byte[] MovCr3Rax = [0x0F, 0x22, 0xD8];
    private static readonly byte[] MovCr4Rax = [0x0F, 0x22, 0xE0];
    private static readonly byte[] MovCr8Rax = [0x44, 0x0F, 0x22, 0xC0];
    private static readonly byte[] MovRaxCr8 = [0x44, 0x0F, 0x20, 0xC0];

    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private void Refuses(ulong rax, byte[] code)
    {
        _processor.S->Gpr[0] = rax;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(code).Vector);
    }

    private void Accepts(ulong rax, byte[] code)
    {
        _processor.S->Gpr[0] = rax;
        _processor.Execute(code);
    }

    [Theory]
    [InlineData(Cr0Bits.Pg)] // without PE
    [InlineData(Cr0Bits.Pe | Cr0Bits.Nw)] // NW without CD
    public void CR0_refuses_combinations(ulong value)
    {
        _processor.Protected();
        Refuses(value, MovCr0Rax);
        Assert.Equal(Cr0Bits.Pe, _processor.S->Cr0);
    }

    [Fact]
    public void CR0_refuses_upper_bits_and_ignores_lower_reserved_ones()
    {
        _processor.Long();
        Refuses(_processor.S->Cr0 | (1ul << 32), MovCr0Rax);
        Accepts(_processor.S->Cr0 | (1 << 6), MovCr0Rax);
        Assert.Equal(0ul, _processor.S->Cr0 & (1 << 6));
        Assert.NotEqual(0ul, _processor.S->Cr0 & Cr0Bits.Et);
    }

    [Fact]
    public void Paging_is_not_turned_off_in_64_bit_code()
    {
        _processor.Long();
        Refuses(Cr0Bits.Pe, MovCr0Rax);
    }

    [Fact]
    public void Long_mode_begins_and_ends_with_paging()
    {
        _processor.Protected();
        _processor.S->Efer = EferBits.Lme;
        Refuses(Cr0Bits.Pe | Cr0Bits.Pg, MovCr0Rax); // without PAE
        _processor.S->Cr4 = Cr4Bits.Pae;
        Accepts(Cr0Bits.Pe | Cr0Bits.Pg, MovCr0Rax);
        Assert.True(_processor.Cpu.LongModeActive);
        Accepts(Cr0Bits.Pe, MovCr0Rax);
        Assert.False(_processor.Cpu.LongModeActive);
    }

    [Fact]
    public void Long_mode_does_not_begin_in_a_64_bit_segment_or_with_a_16_bit_TSS()
    {
        _processor.Protected();
        _processor.S->Efer = EferBits.Lme;
        _processor.S->Cr4 = Cr4Bits.Pae;
        _processor.S->Tr.Attributes = 0x83;
        Refuses(Cr0Bits.Pe | Cr0Bits.Pg, MovCr0Rax);
        _processor.S->Tr.Attributes = 0x8B;
        _processor.S->Cs.Attributes |= SegmentRegister.Long;
        Refuses(Cr0Bits.Pe | Cr0Bits.Pg, MovCr0Rax);
    }

    [Fact]
    public void PAE_paging_checks_the_four_pointers()
    {
        _processor.Protected();
        _processor.S->Cr4 = Cr4Bits.Pae;
        _processor.S->Cr3 = 0x4000;
        _processor.Memory.Write(0x4000, 0x5000ul | 1 | 2); // R/W is reserved here
        Refuses(Cr0Bits.Pe | Cr0Bits.Pg, MovCr0Rax);
        _processor.Memory.Write(0x4000, 0x5000ul | 1);
        Accepts(Cr0Bits.Pe | Cr0Bits.Pg, MovCr0Rax);
    }

    [Theory]
    [InlineData(1ul << CpuModel.PhysicalAddressBits)]
    [InlineData(1ul << 63)] // no-flush without CR4.PCIDE
    public void CR3_refuses_reserved_bits(ulong bit)
    {
        _processor.Long();
        Refuses(0x4000 | bit, MovCr3Rax);
    }

    [Fact]
    public void The_no_flush_bit_is_not_kept()
    {
        _processor.Long();
        Accepts(Cr4Bits.Pae | Cr4Bits.Pcide, MovCr4Rax);
        Accepts(0x4001 | (1ul << 63), MovCr3Rax);
        Assert.Equal(0x4001ul, _processor.S->Cr3);
    }

    [Fact]
    public void CR4_has_its_conditions()
    {
        _processor.Long();
        Refuses(0, MovCr4Rax); // PAE cannot go in long mode
        Refuses(Cr4Bits.Pae | (1 << 12), MovCr4Rax); // LA57
        Refuses(Cr4Bits.Pae | Cr4Bits.OsXsave, MovCr4Rax); // this model has no XSAVE
        _processor.S->Cr3 |= 1;
        Refuses(Cr4Bits.Pae | Cr4Bits.Pcide, MovCr4Rax); // PCID not 0
    }

    [Fact]
    public void PCIDE_needs_long_mode_and_keeps_paging_on()
    {
        _processor.Protected();
        Refuses(Cr4Bits.Pae | Cr4Bits.Pcide, MovCr4Rax);
    }

    [Fact]
    public void CR8_is_the_task_priority()
    {
        _processor.Long();
        Accepts(9, MovCr8Rax);
        Assert.Equal(9, _processor.Bus.TaskPriority);
        _processor.Execute(MovRaxCr8);
        Assert.Equal(9ul, _processor.S->Gpr[0]);
        Refuses(16, MovCr8Rax);
    }

    [Fact]
    public void Control_registers_are_for_ring_0()
    {
        _processor.Long(3);
        Refuses(0, MovCr0Rax);
    }

    [Fact]
    public void LMSW_sets_PE_but_does_not_clear_it()
    {
        _processor.Protected();
        Accepts(0x8, [0x0F, 0x01, 0xF0]); // LMSW AX
        Assert.Equal(Cr0Bits.Pe | Cr0Bits.Ts, _processor.S->Cr0 & 0xF);
        _processor.Execute(0x0F, 0x06); // CLTS
        Assert.Equal(Cr0Bits.Pe, _processor.S->Cr0 & 0xF);
    }

    [Fact]
    public void UMIP_hides_the_machine_status_from_ring_3()
    {
        byte[] smswEax = [0x0F, 0x01, 0xE0];
        _processor.Protected(3);
        _processor.Execute(smswEax);
        Assert.Equal((ulong)(uint)_processor.S->Cr0, _processor.S->Gpr[0]);
        _processor.S->Cr4 |= Cr4Bits.Umip;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(smswEax).Vector);
    }

    [Fact]
    public void Debug_registers_alias_without_DE_and_trap_with_GD()
    {
        _processor.Long();
        byte[] movDr7Rax = [0x0F, 0x23, 0xF8], movRaxDr5 = [0x0F, 0x21, 0xE8], movRaxDr6 = [0x0F, 0x21, 0xF0];
        Accepts(0x2000, movDr7Rax);
        Assert.Equal(Vector.Debug, _processor.Faults(movRaxDr5).Vector);
        _processor.Execute(movRaxDr5); // GD went off; DR5 is DR7
        Assert.Equal(0x400ul, _processor.S->Gpr[0]);
        _processor.Execute(movRaxDr6);
        Assert.Equal(0xFFFF_2FF0ul, _processor.S->Gpr[0]);
        _processor.S->Cr4 |= Cr4Bits.De;
        Assert.Equal(Vector.InvalidOpcode, _processor.Faults(movRaxDr5).Vector);
        Refuses(1ul << 32, movDr7Rax);
    }
}
