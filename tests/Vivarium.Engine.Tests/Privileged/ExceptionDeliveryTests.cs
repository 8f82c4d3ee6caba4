using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class ExceptionDeliveryTests : IDisposable
{
    private const ulong Handler = 0x5000;
    private const ulong User = 3;

    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private NativeState* S => _processor.S;

    private bool Deliver(Vector vector, uint? error = null, EventKind kind = EventKind.Fault)
        => ExceptionDelivery.Deliver(_processor.Cpu, (int)vector, error, kind);

    [Fact]
    public void Real_mode_pushes_three_words_and_takes_the_vector_from_the_table()
    {
        _processor.RealMode();
        S->SystemFlags |= RflagsBits.If | RflagsBits.Tf;
        _processor.Memory.Write(0x21 * 4, 0x1234_5678u);
        Assert.True(ExceptionDelivery.Deliver(_processor.Cpu, 0x21, null, EventKind.ExternalInterrupt));
        Assert.Equal((0x1234, 0x12340ul, 0x5678ul), (S->Cs.Selector, S->Cs.Base, S->Rip));
        Assert.Equal([0x7C00ul, 0, 0x302], _processor.Frame(3, 2));
        Assert.Equal(0x7FFAul, S->Gpr[4]);
        Assert.Equal(0ul, S->SystemFlags & (RflagsBits.If | RflagsBits.Tf));
    }

    [Fact]
    public void A_real_mode_frame_wraps_around_the_end_of_the_segment()
    {
        _processor.RealMode();
        S->Gpr[4] = 2;
        Assert.True(ExceptionDelivery.Deliver(_processor.Cpu, 0x21, null, EventKind.ExternalInterrupt));
        Assert.Equal(0xFFFCul, S->Gpr[4]);
        Assert.Equal(0x7C00, _processor.Memory.Read<ushort>(0xFFFC));
        Assert.Equal(2, _processor.Memory.Read<ushort>(0));
    }

    [Fact]
    public void A_fault_on_the_same_level_pushes_flags_with_RF_and_the_error_code()
    {
        _processor.Protected();
        _processor.SetGate(13, Processor.Code32, Handler);
        S->SystemFlags |= RflagsBits.If;
        Assert.True(Deliver(Vector.GeneralProtection, 0x55));
        Assert.Equal([0x55ul, Processor.Program, Processor.Code32, RflagsBits.Rf | RflagsBits.If | 2], _processor.Frame(4, 4));
        Assert.Equal((Handler, Handler, 0ul), (S->Rip, _processor.Cpu.NextRip, S->SystemFlags & RflagsBits.If));
    }

    [Fact]
    public void A_trap_gate_leaves_interrupts_enabled()
    {
        _processor.Protected();
        _processor.SetGate(13, Processor.Code32, Handler, SystemType.TrapGate);
        S->SystemFlags |= RflagsBits.If;
        Deliver(Vector.GeneralProtection, 0);
        Assert.NotEqual(0ul, S->SystemFlags & RflagsBits.If);
    }

    [Fact]
    public void A_sixteen_bit_gate_pushes_words()
    {
        _processor.Protected();
        _processor.SetGate(6, Processor.Code16, 0xBEEF_4000, SystemType.InterruptGate16);
        Deliver(Vector.InvalidOpcode);
        Assert.Equal([Processor.Program & 0xFFFF, Processor.Code32, 2], _processor.Frame(3, 2));
        Assert.Equal(0x4000ul, S->Rip);
    }

    [Fact]
    public void User_mode_enters_on_the_stack_that_the_TSS_names()
    {
        _processor.Protected(3);
        _processor.SetGate(0x20, Processor.Code32, Handler);
        Assert.True(ExceptionDelivery.Deliver(_processor.Cpu, 0x20, null, EventKind.ExternalInterrupt));
        Assert.Equal([Processor.Program, Processor.UserCode32, 2, Processor.UserStack, Processor.UserData32], _processor.Frame(5, 4));
        Assert.Equal((0, Processor.Data32, Processor.InnerStack - 20), (_processor.Cpu.Cpl, S->Ss.Selector, S->Gpr[4]));
    }

    [Fact]
    public void Virtual_8086_mode_leaves_its_segments_in_the_frame()
    {
        _processor.Virtual8086();
        _processor.SetGate(13, Processor.Code32, Handler);
        S->Cs.Selector = 0x1111;
        S->Es.Selector = 0xE5;
        S->Ds.Selector = 0xD5;
        S->Fs.Selector = 0xF5;
        S->Gs.Selector = 0x65;
        Assert.True(Deliver(Vector.GeneralProtection, 0));
        Assert.Equal([0, Processor.Program, 0x1111, RflagsBits.Vm | RflagsBits.Rf | 2, 0x8000, 0, 0xE5, 0xD5, 0xF5, 0x65ul], _processor.Frame(10, 4));
        Assert.False(_processor.Cpu.Virtual8086);
        Assert.Equal((0, SegmentRegister.Unusable), (S->Ds.Selector, S->Ds.Attributes));
        Assert.Equal(0, _processor.Cpu.Cpl);
    }

    [Fact]
    public void Long_mode_aligns_the_stack_and_always_pushes_SS_and_RSP()
    {
        _processor.Long();
        _processor.SetGate(14, Processor.Code64, 0xFFFF_8000_0000_5000);
        S->Gpr[4] = Processor.KernelStack + 12;
        Assert.True(Deliver(Vector.PageFault, 2));
        Assert.Equal([2, Processor.Program, Processor.Code64, RflagsBits.Rf | 2, Processor.KernelStack + 12, Processor.Data32], _processor.Frame(6, 8));
        Assert.Equal((Processor.KernelStack - 48, 0xFFFF_8000_0000_5000), (S->Gpr[4], S->Rip));
        Assert.Equal(Processor.Data32, S->Ss.Selector);
    }

    [Fact]
    public void Long_mode_enters_the_kernel_with_a_null_stack_segment()
    {
        _processor.Long(3);
        _processor.SetGate(14, Processor.Code64, Handler);
        Assert.True(Deliver(Vector.PageFault, 4));
        Assert.Equal([4, Processor.Program, Processor.UserCode64, RflagsBits.Rf | 2, Processor.UserStack, Processor.UserData32], _processor.Frame(6, 8));
        Assert.Equal((0, 0), (S->Ss.Selector, _processor.Cpu.Cpl));
    }

    [Fact]
    public void The_interrupt_stack_table_serves_every_level()
    {
        _processor.Long();
        _processor.SetGate(2, Processor.Code64, Handler, ist: 1);
        Assert.True(Deliver(Vector.Nmi, null, EventKind.Nmi));
        Assert.Equal((Processor.IstStack & ~0xFul) - 40, S->Gpr[4]);
        Assert.True(_processor.Cpu.NmiBlocked);
    }

    [Fact]
    public void INT_n_needs_a_gate_of_its_privilege()
    {
        _processor.Protected(3);
        _processor.SetGate(0x80, Processor.Code32, Handler, dpl: 0);
        _processor.SetGate(13, Processor.Code32, Handler + 13);
        _processor.Execute(0xCD, 0x80);
        Assert.Equal(Handler + 13, S->Rip);
        Assert.Equal([(0x80ul * 8) | 2, Processor.Program], _processor.Frame(2, 4));

        using var allowed = new Processor();
        allowed.Protected(3);
        allowed.SetGate(0x80, Processor.Code32, Handler, dpl: 3);
        allowed.Execute(0xCD, 0x80);
        Assert.Equal([Processor.Program + 2, Processor.UserCode32], allowed.Frame(2, 4));
    }

    [Fact]
    public void INT_n_in_virtual_8086_mode_needs_IOPL_3()
    {
        _processor.Virtual8086();
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xCD, 0x21).Vector);
        _processor.SetGate(0x21, Processor.Code32, Handler, dpl: (int)User);
        S->SystemFlags |= RflagsBits.Iopl;
        _processor.Execute(0xCD, 0x21);
        Assert.Equal(Handler, S->Rip);
    }

    [Fact]
    public void Faults_while_delivering_a_hardware_event_have_the_EXT_bit()
    {
        _processor.Protected();
        _processor.SetGate(0x20, Processor.Code32, Handler, present: false);
        _processor.SetGate(11, Processor.Code32, Handler + 11);
        Assert.True(ExceptionDelivery.Deliver(_processor.Cpu, 0x20, null, EventKind.ExternalInterrupt));
        Assert.Equal([(0x20ul * 8) | 3], _processor.Frame(1, 4));
        Assert.Equal(Handler + 11, S->Rip);
    }

    [Fact]
    public void Two_contributory_exceptions_are_a_double_fault()
    {
        _processor.Protected();
        _processor.SetGate(13, Processor.Code32, Handler, present: false);
        _processor.SetGate(8, Processor.Code32, Handler + 8);
        Assert.True(Deliver(Vector.GeneralProtection, 0x77));
        Assert.Equal(Handler + 8, S->Rip);
        Assert.Equal([0ul, Processor.Program], _processor.Frame(2, 4));
    }

    [Fact]
    public void A_benign_exception_gives_way_to_the_fault_of_its_delivery()
    {
        _processor.Protected();
        _processor.SetGate(11, Processor.Code32, Handler + 11);
        _processor.SetGate(6, Processor.Code32, Handler, present: false);
        Assert.True(Deliver(Vector.InvalidOpcode));
        Assert.Equal(Handler + 11, S->Rip);
    }

    [Fact]
    public void A_page_fault_on_the_stack_of_a_page_fault_is_a_double_fault()
    {
        _processor.Long();
        _processor.SetGate(14, Processor.Code64, Handler);
        _processor.SetGate(8, Processor.Code64, Handler + 8, ist: 1);
        S->Gpr[4] = 0x4000_0000;
        S->Cr2 = 0x1234;
        Assert.True(Deliver(Vector.PageFault, 0));
        Assert.Equal(Handler + 8, S->Rip);
        Assert.Equal([0, Processor.Program, Processor.Code64, RflagsBits.Rf | 2, 0x4000_0000, Processor.Data32], _processor.Frame(6, 8));
        Assert.Equal(0x4000_0000ul - 8, S->Cr2);
    }

    [Fact]
    public void A_fault_while_delivering_a_double_fault_shuts_down_with_nothing_changed()
    {
        _processor.Protected();
        S->IdtrLimit = 0;
        Assert.False(Deliver(Vector.InvalidOpcode));
        Assert.True(_processor.Cpu.ShutdownPending);
        Assert.Equal((Processor.Program, Processor.KernelStack, Processor.Code32), (S->Rip, S->Gpr[4], S->Cs.Selector));
    }

    [Fact]
    public void A_handler_must_be_64_bit_code_in_long_mode()
    {
        _processor.Long();
        _processor.SetGate(6, Processor.Code32, Handler);
        _processor.SetGate(13, Processor.Code64, Handler + 13);
        Assert.True(Deliver(Vector.InvalidOpcode));
        Assert.Equal(Handler + 13, S->Rip);
        Assert.Equal([Processor.Code32 | 1ul], _processor.Frame(1, 8));
    }

    [Fact]
    public void A_debug_exception_clears_general_detect_and_pushes_RF_as_it_was()
    {
        _processor.Protected();
        _processor.SetGate(1, Processor.Code32, Handler);
        S->Dr[7] = (1 << 13) | 0x400;
        Assert.True(Deliver(Vector.Debug, null, EventKind.Trap));
        Assert.Equal(0x400ul, S->Dr[7]);
        Assert.Equal(2ul, _processor.Frame(3, 4)[2]);
    }
}
