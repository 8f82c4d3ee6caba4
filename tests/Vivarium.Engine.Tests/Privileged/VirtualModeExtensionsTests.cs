using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests.Privileged;

/// <summary>INT n and IRET in virtual-8086 mode with CR4.VME (SDM vol. 3A, 20.3.3).</summary>
public sealed unsafe class VirtualModeExtensionsTests : IDisposable
{
    private const int Number = 0x21;
    private const ushort BitmapBase = 0x100;
    private const ushort HandlerSegment = 0x123;
    private const ushort HandlerOffset = 0x45;

    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    [Fact]
    public void An_interrupt_that_is_not_intercepted_goes_to_the_program_s_own_handler_with_VIF_for_IF()
    {
        Enter(iopl: 0, intercepted: false);
        _processor.S->SystemFlags |= RflagsBits.Vif | RflagsBits.If;
        _processor.S->Rip = 0x7000;
        _processor.Execute(0xCD, Number);
        Assert.Equal(HandlerOffset, _processor.S->Rip);
        Assert.Equal(HandlerSegment, _processor.S->Cs.Selector);
        Assert.Equal((ulong)HandlerSegment << 4, _processor.S->Cs.Base);
        ulong[] frame = _processor.Frame(3, 2);
        Assert.Equal(0x7002ul, frame[0]);
        Assert.Equal(RflagsBits.If | RflagsBits.Iopl, frame[2] & (RflagsBits.If | RflagsBits.Iopl));
        Assert.Equal(RflagsBits.If, _processor.S->SystemFlags & (RflagsBits.If | RflagsBits.Vif));
        Assert.True(_processor.Cpu.Virtual8086);
    }

    [Fact]
    public void With_full_IOPL_the_real_IF_is_cleared()
    {
        Enter(iopl: 3, intercepted: false);
        _processor.S->SystemFlags |= RflagsBits.If;
        _processor.Execute(0xCD, Number);
        Assert.Equal(HandlerOffset, _processor.S->Rip);
        Assert.Equal(0ul, _processor.S->SystemFlags & RflagsBits.If);
        Assert.NotEqual(0ul, _processor.Frame(3, 2)[2] & RflagsBits.If);
    }

    [Fact]
    public void An_intercepted_interrupt_below_IOPL_is_the_monitor_s()
    {
        Enter(iopl: 0, intercepted: true);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xCD, Number).Vector);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void IRET_pops_IF_into_VIF(bool enabled)
    {
        Enter(iopl: 0, intercepted: false);
        _processor.S->SystemFlags |= RflagsBits.If;
        _processor.PushFrame(2, 0x1234, 0x200, 2 | RflagsBits.Cf | (enabled ? RflagsBits.If : 0));
        _processor.Execute(0xCF);
        Assert.Equal(0x1234ul, _processor.S->Rip);
        Assert.Equal(0x200, _processor.S->Cs.Selector);
        Assert.Equal(enabled, (_processor.S->SystemFlags & RflagsBits.Vif) != 0);
        Assert.Equal(RflagsBits.If, _processor.S->SystemFlags & (RflagsBits.If | RflagsBits.Iopl));
        Assert.Equal(RflagsBits.Cf, _processor.S->ArithmeticFlags & RflagsBits.Cf);
    }

    [Fact]
    public void IRET_that_would_let_a_pending_interrupt_in_is_the_monitor_s()
    {
        Enter(iopl: 0, intercepted: false);
        _processor.S->SystemFlags |= RflagsBits.Vip;
        _processor.PushFrame(2, 0x1234, 0x200, 2 | RflagsBits.If);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xCF).Vector);
    }

    [Fact]
    public void Without_VME_both_are_the_monitor_s_below_IOPL()
    {
        Enter(iopl: 0, intercepted: false);
        _processor.S->Cr4 &= ~Cr4Bits.Vme;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xCD, Number).Vector);
        _processor.PushFrame(2, 0x1234, 0x200, 2);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xCF).Vector);
    }

    private void Enter(int iopl, bool intercepted)
    {
        _processor.Virtual8086();
        _processor.S->Cr4 |= Cr4Bits.Vme;
        _processor.S->SystemFlags = (_processor.S->SystemFlags & ~RflagsBits.Iopl) | ((ulong)iopl << RflagsBits.IoplShift);
        _processor.S->Tr.Limit = 0x2FF;
        ulong tss = _processor.S->Tr.Base;
        _processor.Memory.Write(tss + 0x66, BitmapBase);
        _processor.Memory.Write(tss + BitmapBase - 32 + (Number >> 3), (byte)(intercepted ? 1 << (Number & 7) : 0));
        _processor.Memory.Write(Number * 4ul, HandlerOffset | ((uint)HandlerSegment << 16));
    }
}
