using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class FlagTests : IDisposable
{
    private const ulong Basic = RflagsBits.Arithmetic | RflagsBits.Tf | RflagsBits.Df | RflagsBits.Nt;
    private const ulong Wide = RflagsBits.Ac | RflagsBits.Id;

    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    public enum Mode
    {
        Real,
        Ring0,
        Ring3,
        Virtual8086,
    }

    private void Enter(Mode mode, int iopl)
    {
        _processor.Cpu.Rflags = RflagsBits.Fixed;
        _ = mode switch
        {
            Mode.Real => _processor.RealMode(),
            Mode.Ring0 => _processor.Protected(),
            Mode.Ring3 => _processor.Protected(3),
            _ => _processor.Virtual8086(),
        };
        _processor.S->SystemFlags |= (ulong)iopl << RflagsBits.IoplShift;
    }

    /// <summary>POPF with its operand-size prefix, if the mode needs one.</summary>
    private byte[] Popf(int size) => size * 8 == _processor.Cpu.CodeBits ? [0x9D] : [0x66, 0x9D];

    [Theory]
    [InlineData(Mode.Real, 0, 2, Basic | RflagsBits.If | RflagsBits.Iopl)]
    [InlineData(Mode.Real, 0, 4, Basic | Wide | RflagsBits.If | RflagsBits.Iopl)]
    [InlineData(Mode.Ring0, 0, 2, Basic | RflagsBits.If | RflagsBits.Iopl)]
    [InlineData(Mode.Ring0, 0, 4, Basic | Wide | RflagsBits.If | RflagsBits.Iopl)]
    [InlineData(Mode.Ring3, 0, 4, Basic | Wide)]
    [InlineData(Mode.Ring3, 2, 2, Basic)]
    [InlineData(Mode.Ring3, 3, 4, Basic | Wide | RflagsBits.If)]
    [InlineData(Mode.Virtual8086, 3, 2, Basic | RflagsBits.If)]
    [InlineData(Mode.Virtual8086, 3, 4, Basic | Wide | RflagsBits.If)]
    public void POPF_changes_only_what_it_may(Mode mode, int iopl, int size, ulong writable)
    {
        foreach (ulong before in new[] { 0ul, Basic | Wide | RflagsBits.If })
        {
            Enter(mode, iopl);
            ulong kept = _processor.Cpu.Rflags;
            _processor.Cpu.Rflags = kept | before;
            kept = _processor.Cpu.Rflags;
            foreach (ulong popped in new[] { 0ul, 0xFFFF_FFFF })
            {
                _processor.Cpu.Rflags = kept;
                _processor.PushFrame(size, popped);
                _processor.Execute(Popf(size));
                Assert.Equal((kept & ~writable) | (popped & writable), _processor.Cpu.Rflags);
            }
        }
    }

    [Fact]
    public void Virtual_8086_mode_needs_IOPL_3_or_its_extensions()
    {
        Enter(Mode.Virtual8086, 0);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xFA).Vector); // CLI
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xFB).Vector); // STI
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0x9C).Vector); // PUSHF
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0x9D).Vector); // POPF

        _processor.S->Cr4 |= Cr4Bits.Vme;
        _processor.Execute(0xFB);
        Assert.Equal(RflagsBits.Vif, _processor.S->SystemFlags & (RflagsBits.Vif | RflagsBits.If));
        _processor.Execute(0x9C);
        Assert.Equal(RflagsBits.If | RflagsBits.Iopl, _processor.Frame(1, 2)[0] & (RflagsBits.If | RflagsBits.Iopl));
        _processor.Execute(0xFA);
        Assert.Equal(0ul, _processor.S->SystemFlags & RflagsBits.Vif);
        _processor.Execute(0x9D);
        Assert.Equal(RflagsBits.Vif, _processor.S->SystemFlags & (RflagsBits.Vif | RflagsBits.If | RflagsBits.Iopl));
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0x66, 0x9C).Vector);

        _processor.S->SystemFlags |= RflagsBits.Vip;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xFB).Vector);
    }

    [Fact]
    public void Ring_3_reaches_IF_by_IOPL_or_VIF_by_PVI()
    {
        Enter(Mode.Ring3, 0);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0xFB).Vector);
        _processor.S->Cr4 |= Cr4Bits.Pvi;
        _processor.Execute(0xFB);
        Assert.Equal(RflagsBits.Vif, _processor.S->SystemFlags & (RflagsBits.Vif | RflagsBits.If));
        Assert.False(_processor.Cpu.InterruptShadow);
        Enter(Mode.Ring3, 3);
        _processor.Execute(0xFB);
        Assert.NotEqual(0ul, _processor.S->SystemFlags & RflagsBits.If);
    }

    [Fact]
    public void STI_has_a_shadow_only_where_it_changes_IF()
    {
        Enter(Mode.Ring0, 0);
        _processor.Execute(0xFB);
        Assert.True(_processor.Cpu.InterruptShadow);
        _processor.Cpu.InterruptShadow = false;
        _processor.Execute(0xFB);
        Assert.False(_processor.Cpu.InterruptShadow);
    }

    [Fact]
    public void STAC_and_CLAC_exist_in_ring_0_only()
    {
        _processor.Long();
        _processor.Execute(0x0F, 0x01, 0xCB);
        Assert.NotEqual(0ul, _processor.S->SystemFlags & RflagsBits.Ac);
        _processor.Execute(0x0F, 0x01, 0xCA);
        Assert.Equal(0ul, _processor.S->SystemFlags & RflagsBits.Ac);
        _processor.Long(3);
        Assert.Equal(Vector.InvalidOpcode, _processor.Faults(0x0F, 0x01, 0xCB).Vector);
    }
}
