using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class InterruptReturnTests : IDisposable
{
    private static readonly byte[] Iret = [0xCF];
    private static readonly byte[] Iretq = [0x48, 0xCF];

    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private NativeState* S => _processor.S;

    [Fact]
    public void Real_mode_pops_three_words()
    {
        _processor.RealMode();
        _processor.PushFrame(2, 0x1000, 0x2000, 0x7FD7);
        _processor.Execute(Iret);
        Assert.Equal((0x1000ul, 0x20000ul, 0x8000ul), (S->Rip, S->Cs.Base, S->Gpr[4]));
        Assert.Equal(0x7FD7ul, _processor.Cpu.Rflags & 0xFFFF);
    }

    [Fact]
    public void Protected_mode_returns_on_the_same_level()
    {
        _processor.Protected();
        _processor.PushFrame(4, 0x1234, Processor.Code32, RflagsBits.If | RflagsBits.Iopl | 2);
        _processor.Execute(Iret);
        Assert.Equal((0x1234ul, Processor.KernelStack, 0), (S->Rip, S->Gpr[4], _processor.Cpu.Cpl));
        Assert.Equal(RflagsBits.If | RflagsBits.Iopl, S->SystemFlags & (RflagsBits.If | RflagsBits.Iopl));
    }

    [Fact]
    public void An_outer_return_drops_segments_that_the_outer_level_may_not_use()
    {
        _processor.Protected();
        Assert.Equal(Processor.Data32, S->Ds.Selector);
        _processor.PushFrame(4, 0x1234, Processor.UserCode32, 2, 0x7000, Processor.UserData32);
        _processor.Execute(Iret);
        Assert.Equal((3, 0x7000ul, Processor.UserData32), (_processor.Cpu.Cpl, S->Gpr[4], S->Ss.Selector));
        Assert.Equal((0, SegmentRegister.Unusable), (S->Ds.Selector, S->Ds.Attributes));
    }

    [Fact]
    public void User_mode_cannot_change_IF_or_IOPL()
    {
        _processor.Protected(3);
        _processor.PushFrame(4, 0x1234, Processor.UserCode32, RflagsBits.If | RflagsBits.Iopl | RflagsBits.Cf | 2);
        _processor.Execute(Iret);
        Assert.Equal(RflagsBits.Cf | 2, _processor.Cpu.Rflags);
    }

    [Fact]
    public void Nobody_returns_to_an_inner_level()
    {
        _processor.Protected(3);
        _processor.PushFrame(4, 0x1234, Processor.Code32, 2);
        GuestException fault = _processor.Faults(Iret);
        Assert.Equal((Vector.GeneralProtection, (uint?)Processor.Code32), (fault.Vector, fault.ErrorCode));
        Assert.Equal((Processor.Program, Processor.UserStack - 12), (S->Rip, S->Gpr[4]));
    }

    [Theory]
    [InlineData(0, Vector13, 0)]
    [InlineData(Processor.Data32, Vector13, Processor.Data32)]
    [InlineData(0x70, Vector13, 0x70)]
    [InlineData(0x200, Vector13, 0x200)]
    public void A_bad_code_segment_is_refused(ushort selector, int vector, int error)
    {
        _processor.Protected();
        _processor.PushFrame(4, 0x1234, selector, 2);
        GuestException fault = _processor.Faults(Iret);
        Assert.Equal((vector, error), ((int)fault.Vector, (int)fault.ErrorCode!));
    }

    private const int Vector13 = (int)Vector.GeneralProtection;

    [Fact]
    public void Long_mode_returns_to_64_bit_user_code()
    {
        _processor.Long();
        _processor.Cpu.NmiBlocked = true;
        _processor.PushFrame(8, 0x40_1000, Processor.UserCode64, RflagsBits.If | 2, 0x7FFF_0000_0000, Processor.UserData32);
        _processor.Execute(Iretq);
        Assert.Equal((0x40_1000ul, 0x7FFF_0000_0000ul, 3), (S->Rip, S->Gpr[4], _processor.Cpu.Cpl));
        Assert.True(_processor.Cpu.Code64);
        Assert.False(_processor.Cpu.NmiBlocked);
    }

    [Fact]
    public void Long_mode_returns_to_compatibility_mode()
    {
        _processor.Long();
        _processor.PushFrame(8, 0x40_1000, Processor.UserCode32, 2, 0xFFFF_F000, Processor.UserData32);
        _processor.Execute(Iretq);
        Assert.Equal((32, 0xFFFF_F000ul), (_processor.Cpu.CodeBits, S->Gpr[4]));
    }

    [Fact]
    public void Long_mode_takes_a_null_stack_segment_back_in_the_kernel_only()
    {
        _processor.Long();
        _processor.PushFrame(8, 0x1234, Processor.Code64, 2, 0x9000, 0);
        _processor.Execute(Iretq);
        Assert.Equal((0, 0, 0x9000ul), (S->Ss.Selector, _processor.Cpu.Cpl, S->Gpr[4]));

        _processor.PushFrame(8, 0x1234, Processor.UserCode64, 2, 0x9000, 3);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(Iretq).Vector);
    }

    [Fact]
    public void A_non_canonical_target_faults_before_anything_changes()
    {
        _processor.Long();
        _processor.PushFrame(8, 0x8000_0000_0000, Processor.UserCode64, 2, 0x9000, Processor.UserData32);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(Iretq).Vector);
        Assert.Equal((0, Processor.KernelStack - 40), (_processor.Cpu.Cpl, S->Gpr[4]));
    }

    [Fact]
    public void NT_is_refused_in_long_mode()
    {
        _processor.Long();
        S->SystemFlags |= RflagsBits.Nt;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(Iretq).Vector);
    }

    [Fact]
    public void Ring_0_returns_to_virtual_8086_mode()
    {
        _processor.Protected();
        _processor.PushFrame(4, 0x100, 0x2000, RflagsBits.Vm | RflagsBits.If | 2, 0xFFFE, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000);
        _processor.Execute(Iret);
        Assert.True(_processor.Cpu.Virtual8086);
        Assert.Equal((3, 0x20000ul, 0x30000ul, 0x40000ul, 0x50000ul), (_processor.Cpu.Cpl, S->Cs.Base, S->Ss.Base, S->Es.Base, S->Ds.Base));
        Assert.Equal((0x60000ul, 0x70000ul, 0xFFFEul, 0x100ul), (S->Fs.Base, S->Gs.Base, S->Gpr[4], S->Rip));
    }

    [Fact]
    public void Virtual_8086_mode_itself_needs_IOPL_3_and_keeps_it()
    {
        _processor.Virtual8086();
        _processor.PushFrame(2, 0x100, 0x2000, RflagsBits.If | 2);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(Iret).Vector);
        S->SystemFlags |= RflagsBits.Iopl;
        _processor.Execute(Iret);
        Assert.Equal(RflagsBits.Iopl | RflagsBits.If | RflagsBits.Vm, S->SystemFlags & (RflagsBits.Iopl | RflagsBits.If | RflagsBits.Vm));
        Assert.Equal(0x20000ul, S->Cs.Base);
    }
}
