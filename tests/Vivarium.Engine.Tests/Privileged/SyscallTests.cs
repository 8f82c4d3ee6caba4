using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class SyscallTests : IDisposable
{
    private static readonly byte[] Syscall = [0x0F, 0x05];
    private static readonly byte[] Sysretq = [0x48, 0x0F, 0x07];
    private static readonly byte[] Sysretd = [0x0F, 0x07];

    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private NativeState* S => _processor.S;

    private void Prepare(int cpl)
    {
        _processor.Long(cpl);
        _processor.Cpu.Star = 0x0023_0010_0000_0000;
        _processor.Cpu.Lstar = 0xFFFF_8000_0000_1000;
        _processor.Cpu.SyscallMask = RflagsBits.If | RflagsBits.Tf | RflagsBits.Ac;
    }

    [Fact]
    public void SYSCALL_enters_the_kernel_with_return_address_and_flags_in_registers()
    {
        Prepare(3);
        _processor.Cpu.Rflags = RflagsBits.If | RflagsBits.Cf | RflagsBits.Ac | RflagsBits.Rf | 2;
        _processor.Execute(Syscall);
        Assert.Equal((0xFFFF_8000_0000_1000, Processor.Program + 2), (S->Rip, S->Gpr[1]));
        Assert.Equal(RflagsBits.If | RflagsBits.Cf | RflagsBits.Ac | 2, S->Gpr[11]);
        Assert.Equal(RflagsBits.Cf | 2, _processor.Cpu.Rflags);
        Assert.Equal((0x10, 0x18, 0, true), (S->Cs.Selector, S->Ss.Selector, _processor.Cpu.Cpl, _processor.Cpu.Code64));
        Assert.Equal(Processor.UserStack, S->Gpr[4]);
    }

    [Fact]
    public void SYSRET_returns_to_64_bit_or_compatibility_mode()
    {
        Prepare(0);
        S->Gpr[1] = 0x40_0000;
        S->Gpr[11] = RflagsBits.If | RflagsBits.Rf | RflagsBits.Vm | 2;
        _processor.Execute(Sysretq);
        Assert.Equal((0x40_0000ul, RflagsBits.If | 2), (S->Rip, _processor.Cpu.Rflags));
        Assert.Equal((0x33, 0x2B, 3, 64), (S->Cs.Selector, S->Ss.Selector, _processor.Cpu.Cpl, _processor.Cpu.CodeBits));

        Prepare(0);
        S->Gpr[1] = 0xFFFF_FFFF_0040_0000;
        _processor.Execute(Sysretd);
        Assert.Equal((0x40_0000ul, 0x23, 32), (S->Rip, S->Cs.Selector, _processor.Cpu.CodeBits));
    }

    [Fact]
    public void Without_EFER_SCE_there_is_no_SYSCALL()
    {
        Prepare(0);
        S->Efer &= ~EferBits.Sce;
        Assert.Equal(Vector.InvalidOpcode, _processor.Faults(Syscall).Vector);
        Assert.Equal(Vector.InvalidOpcode, _processor.Faults(Sysretq).Vector);
    }

    [Fact]
    public void SYSRET_is_for_ring_0()
    {
        Prepare(3);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(Sysretq).Vector);
    }

    [Fact]
    public void SYSENTER_and_SYSEXIT_use_their_registers()
    {
        _processor.Protected(3);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(0x0F, 0x34).Vector);
        _processor.Cpu.SysenterCs = Processor.Code32;
        _processor.Cpu.SysenterEip = 0x7000;
        _processor.Cpu.SysenterEsp = 0x8000;
        _processor.Execute(0x0F, 0x34);
        Assert.Equal((0x7000ul, 0x8000ul, 0, Processor.Data32), (S->Rip, S->Gpr[4], _processor.Cpu.Cpl, S->Ss.Selector));
        S->Gpr[1] = 0x1111;
        S->Gpr[2] = 0x2222;
        _processor.Execute(0x0F, 0x35);
        Assert.Equal((0x2222ul, 0x1111ul, 3), (S->Rip, S->Gpr[4], _processor.Cpu.Cpl));
        Assert.Equal((0x1B, 0x23), (S->Cs.Selector, S->Ss.Selector));
    }
}
