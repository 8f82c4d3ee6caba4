using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class SegmentTests : IDisposable
{
    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private NativeState* S => _processor.S;

    private void MoveTo(byte modRm, ushort selector)
    {
        S->Gpr[0] = selector;
        _processor.Execute(0x8E, modRm);
    }

    [Fact]
    public void A_load_takes_base_limit_and_rights_and_sets_the_accessed_bit()
    {
        _processor.Protected();
        _processor.SetDescriptor(Processor.Free, 0x12C0_9234_5678_0001);
        MoveTo(0xC0, Processor.Free);
        Assert.Equal((0x1234_5678ul, 0x1FFFu, 0xC093u), (S->Es.Base, S->Es.Limit, S->Es.Attributes));
        Assert.Equal(0x93, _processor.Memory.Read<byte>(Processor.Gdt + Processor.Free + 5));
    }

    [Theory]
    [InlineData(0xD8, Processor.AbsentData, (int)Vector.SegmentNotPresent, Processor.AbsentData)]
    [InlineData(0xD0, Processor.AbsentData, (int)Vector.StackFault, Processor.AbsentData)]
    [InlineData(0xD0, 0, (int)Vector.GeneralProtection, 0)]
    [InlineData(0xD0, Processor.UserData32, (int)Vector.GeneralProtection, Processor.UserData32 & ~3)]
    [InlineData(0xD0, Processor.Code32, (int)Vector.GeneralProtection, Processor.Code32)]
    [InlineData(0xD8, Processor.TssSelector, (int)Vector.GeneralProtection, Processor.TssSelector)]
    [InlineData(0xD8, 0x1000, (int)Vector.GeneralProtection, 0x1000)]
    [InlineData(0xD8, 0x000C, (int)Vector.GeneralProtection, 0x000C)]
    [InlineData(0xD8, Processor.Data32 | 3, (int)Vector.GeneralProtection, Processor.Data32)]
    public void A_bad_selector_is_refused(byte modRm, int selector, int vector, int error)
    {
        _processor.Protected();
        S->Gpr[0] = (ulong)selector;
        GuestException fault = _processor.Faults(0x8E, modRm);
        Assert.Equal((vector, error), ((int)fault.Vector, (int)fault.ErrorCode!));
        Assert.Equal(Processor.Data32, S->Ds.Selector);
    }

    [Fact]
    public void A_null_data_segment_may_be_loaded_but_not_used()
    {
        _processor.Protected();
        MoveTo(0xD8, 3);
        Assert.Equal((3, SegmentRegister.Unusable), (S->Ds.Selector, S->Ds.Attributes));
        Assert.Equal(Vector.GeneralProtection, Assert.Throws<GuestException>(() => _processor.Cpu.SegmentedAddress(3, 0, 1, Access.Read)).Vector);
    }

    [Fact]
    public void MOV_SS_holds_interrupts_back_for_one_instruction()
    {
        _processor.Protected();
        MoveTo(0xD8, Processor.Data32);
        Assert.False(_processor.Cpu.InterruptShadow);
        MoveTo(0xD0, Processor.Data32);
        Assert.True(_processor.Cpu.InterruptShadow);
    }

    [Fact]
    public void PUSH_and_POP_use_the_operand_size()
    {
        _processor.Protected();
        _processor.Execute(0x1E);
        Assert.Equal(Processor.KernelStack - 4, S->Gpr[4]);
        _processor.Execute(0x66, 0x06);
        Assert.Equal(Processor.KernelStack - 6, S->Gpr[4]);
        _processor.Execute(0x66, 0x0F, 0xA1);
        _processor.Execute(0x0F, 0xA9);
        Assert.Equal((Processor.KernelStack, Processor.Data32), (S->Gpr[4], S->Gs.Selector));
    }

    [Fact]
    public void LSS_loads_pointer_and_segment_together_or_not_at_all()
    {
        _processor.Protected();
        _processor.Memory.Write(0x20000, 0xCAFE_0000u);
        _processor.Memory.Write(0x20004, Processor.Data32);
        byte[] lss = [0x0F, 0xB2, 0x25, 0x00, 0x00, 0x02, 0x00];
        _processor.Execute(lss);
        Assert.Equal(0xCAFE_0000ul, S->Gpr[4]);
        _processor.Memory.Write(0x20000, 0x1111_0000u);
        _processor.Memory.Write(0x20004, (ushort)0);
        _processor.Faults(lss);
        Assert.Equal(0xCAFE_0000ul, S->Gpr[4]);
    }

    [Fact]
    public void Real_mode_sets_only_the_base()
    {
        _processor.RealMode();
        S->Ds.Limit = uint.MaxValue;
        MoveTo(0xD8, 0x1234);
        Assert.Equal((0x12340ul, uint.MaxValue), (S->Ds.Base, S->Ds.Limit));
    }

    [Fact]
    public void MOV_from_a_segment_register_zero_extends_to_a_register()
    {
        _processor.Protected();
        S->Gpr[0] = ulong.MaxValue;
        _processor.Execute(0x8C, 0xD8);
        Assert.Equal(Processor.Data32, S->Gpr[0]);
    }

    [Fact]
    public void LTR_makes_the_TSS_busy_and_refuses_a_busy_one()
    {
        _processor.Protected();
        _processor.SetDescriptor(Processor.TssSelector, 0x0000_8900_0000_0067 | (Processor.Tss << 16));
        S->Gpr[0] = Processor.TssSelector;
        _processor.Execute(0x0F, 0x00, 0xD8);
        Assert.Equal((Processor.Tss, 0x8Bu), (S->Tr.Base, S->Tr.Attributes));
        Assert.Equal(0x8B, _processor.Memory.Read<byte>(Processor.Gdt + Processor.TssSelector + 5));
        Assert.Equal((uint?)Processor.TssSelector, _processor.Faults(0x0F, 0x00, 0xD8).ErrorCode);
    }

    [Fact]
    public void Long_mode_reads_sixteen_byte_system_descriptors()
    {
        _processor.Long();
        _processor.SetDescriptor(Processor.Free, 0x0000_8900_0000_0067 | (Processor.Tss << 16));
        _processor.SetDescriptor(Processor.Free + 8, 0xFFFF_8000);
        S->Gpr[0] = Processor.Free;
        _processor.Execute(0x0F, 0x00, 0xD8);
        Assert.Equal(0xFFFF_8000_0000_0000 | Processor.Tss, S->Tr.Base);

        _processor.SetDescriptor(Processor.Free, 0x0000_8900_0000_0067 | (Processor.Tss << 16));
        _processor.SetDescriptor(Processor.Free + 8, 0x0000_0100_0000_0000);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0x0F, 0x00, 0xD8).Vector);
    }

    [Fact]
    public void LLDT_gives_selectors_with_TI_a_table()
    {
        _processor.Protected();
        _processor.SetDescriptor(Processor.Free, 0x0000_8200_0000_000F | (Processor.Ldt << 16));
        _processor.Memory.Write(Processor.Ldt + 8, 0x00CF_9300_0000_FFFF);
        S->Gpr[0] = Processor.Free;
        _processor.Execute(0x0F, 0x00, 0xD0);
        MoveTo(0xD8, 0x0C);
        Assert.Equal(0x0C, S->Ds.Selector);
    }

    [Fact]
    public void LGDT_and_SGDT_carry_base_and_limit()
    {
        _processor.Protected();
        _processor.Memory.Write(0x20000, (ushort)0x7F);
        _processor.Memory.Write(0x20002, 0x00AB_CDEFu);
        _processor.Execute(0x0F, 0x01, 0x15, 0x00, 0x00, 0x02, 0x00);
        Assert.Equal((0xAB_CDEFul, 0x7Fu), (S->GdtrBase, S->GdtrLimit));
        _processor.Execute(0x0F, 0x01, 0x05, 0x10, 0x00, 0x02, 0x00);
        Assert.Equal(0x00AB_CDEFu, _processor.Memory.Read<uint>(0x20012));
    }

    [Fact]
    public void UMIP_hides_the_tables_from_user_mode()
    {
        _processor.Protected(3);
        byte[] sgdt = [0x0F, 0x01, 0x05, 0x10, 0x00, 0x02, 0x00];
        _processor.Execute(sgdt);
        S->Cr4 |= Cr4Bits.Umip;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(sgdt).Vector);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0x0F, 0x00, 0xC8).Vector);
    }

    [Fact]
    public void Queries_answer_in_ZF()
    {
        _processor.Protected(3);
        Query(Processor.UserData32, 0xE0, zero: true);
        Query(Processor.UserData32, 0xE8, zero: true);
        Query(Processor.UserCode32, 0xE8, zero: false);
        Query(Processor.Data32, 0xE0, zero: false);
        Query(0, 0xE0, zero: false);

        S->Gpr[0] = Processor.UserData32;
        _processor.Execute(0x0F, 0x02, 0xC8);
        Assert.Equal(0x00C0_F300ul, S->Gpr[1]);
        _processor.Execute(0x0F, 0x03, 0xC8);
        Assert.Equal(0xFFFF_FFFFul, S->Gpr[1]);

        void Query(ushort selector, byte modRm, bool zero)
        {
            S->Gpr[0] = selector;
            _processor.Execute(0x0F, 0x00, modRm);
            Assert.Equal(zero, (_processor.Cpu.Rflags & RflagsBits.Zf) != 0);
        }
    }

    [Fact]
    public void ARPL_raises_a_selector_to_the_caller()
    {
        _processor.Protected();
        S->Gpr[0] = 0x1230;
        S->Gpr[1] = 3;
        _processor.Execute(0x63, 0xC8);
        Assert.Equal(0x1233ul, S->Gpr[0]);
        Assert.NotEqual(0ul, _processor.Cpu.Rflags & RflagsBits.Zf);
        _processor.Execute(0x63, 0xC8);
        Assert.Equal(0ul, _processor.Cpu.Rflags & RflagsBits.Zf);
    }

    [Fact]
    public void Bases_of_FS_and_GS_are_exchanged_and_written()
    {
        _processor.Long();
        S->Gs.Base = 1;
        _processor.Cpu.KernelGsBase = 2;
        _processor.Execute(0x0F, 0x01, 0xF8);
        Assert.Equal((2ul, 1ul), (S->Gs.Base, _processor.Cpu.KernelGsBase));

        Assert.Equal(Vector.InvalidOpcode, _processor.Faults(0xF3, 0x48, 0x0F, 0xAE, 0xD0).Vector);
        S->Cr4 |= Cr4Bits.FsGsBase;
        S->Gpr[0] = 0xFFFF_8000_0000_0000;
        _processor.Execute(0xF3, 0x48, 0x0F, 0xAE, 0xD0);
        Assert.Equal(0xFFFF_8000_0000_0000, S->Fs.Base);
        S->Gpr[0] = 0x8000_0000_0000;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xF3, 0x48, 0x0F, 0xAE, 0xD0).Vector);
    }
}
