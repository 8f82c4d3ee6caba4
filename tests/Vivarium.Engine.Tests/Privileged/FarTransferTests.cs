using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class FarTransferTests : IDisposable
{
    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private NativeState* S => _processor.S;

    private static byte[] Far32(byte opcode, uint offset, ushort selector)
        => [opcode, .. BitConverter.GetBytes(offset), .. BitConverter.GetBytes(selector)];

    private static byte[] Jump(uint offset, ushort selector) => Far32(0xEA, offset, selector);

    private static byte[] Call(uint offset, ushort selector) => Far32(0x9A, offset, selector);

    private void SetCallGate(ushort selector, ushort code, ulong offset, int dpl, int parameters = 0)
        => _processor.SetDescriptor(selector, (offset & 0xFFFF) | ((ulong)code << 16) | ((ulong)parameters << 32)
            | ((ulong)SystemType.CallGate << 40) | ((ulong)dpl << 45) | (1ul << 47) | ((offset >> 16 & 0xFFFF) << 48));

    [Fact]
    public void Real_mode_jumps_anywhere()
    {
        _processor.RealMode();
        _processor.Execute(0xEA, 0x34, 0x12, 0x00, 0xF0);
        Assert.Equal((0xF000, 0xF0000ul, 0x1234ul), (S->Cs.Selector, S->Cs.Base, S->Rip));
    }

    [Fact]
    public void Real_mode_calls_and_returns()
    {
        _processor.RealMode();
        _processor.Execute(0x9A, 0x34, 0x12, 0x00, 0x20);
        Assert.Equal([0x7C05ul, 0], _processor.Frame(2, 2));
        _processor.Execute(0xCB);
        Assert.Equal((0x7C05ul, 0, 0x8000ul), (S->Rip, S->Cs.Selector, S->Gpr[4]));
    }

    [Fact]
    public void A_jump_to_a_long_segment_enters_64_bit_mode()
    {
        _processor.Long();
        _processor.Cpu.TryReadDescriptor(Processor.Code32, out Descriptor code32);
        S->Cs = code32.ToSegment(Processor.Code32);
        _processor.Cpu.UpdateMode();
        Assert.Equal(32, _processor.Cpu.CodeBits);
        _processor.Execute(Jump(0x1234, Processor.Code64));
        Assert.Equal((64, 0x1234ul), (_processor.Cpu.CodeBits, S->Rip));
    }

    [Fact]
    public void Direct_transfers_do_not_change_the_privilege_level()
    {
        _processor.Protected(3);
        GuestException fault = _processor.Faults(Jump(0x1234, Processor.Code32));
        Assert.Equal((Vector.GeneralProtection, (uint?)Processor.Code32), (fault.Vector, fault.ErrorCode));
        _processor.Execute(Jump(0x1234, Processor.Conforming32));
        Assert.Equal((3, Processor.Conforming32 | 3), (_processor.Cpu.Cpl, S->Cs.Selector));
    }

    [Fact]
    public void A_target_beyond_the_limit_is_refused()
    {
        _processor.Protected();
        _processor.SetDescriptor(Processor.Free, 0x0040_9A00_0000_0FFF);
        GuestException fault = _processor.Faults(Jump(0x1000, Processor.Free));
        Assert.Equal((Vector.GeneralProtection, (uint?)0), (fault.Vector, fault.ErrorCode));
        _processor.Execute(Jump(0xFFF, Processor.Free));
        Assert.Equal(0x9B, _processor.Memory.Read<byte>(Processor.Gdt + Processor.Free + 5));
    }

    [Fact]
    public void An_absent_segment_is_reported_with_its_selector()
    {
        _processor.Protected();
        _processor.SetDescriptor(Processor.Free, 0x00CF_1B00_0000_FFFF);
        GuestException fault = _processor.Faults(Call(0, Processor.Free));
        Assert.Equal((Vector.SegmentNotPresent, (uint?)Processor.Free), (fault.Vector, fault.ErrorCode));
    }

    [Fact]
    public void A_call_gate_switches_the_stack_and_copies_parameters_and_RETF_undoes_it()
    {
        _processor.Protected(3);
        SetCallGate(Processor.Free, Processor.Code32, 0x6000, dpl: 3, parameters: 2);
        _processor.PushFrame(4, 0xAAAA, 0xBBBB);
        _processor.Execute(Call(0xDEAD_BEEF, Processor.Free | 3));
        Assert.Equal((0x6000ul, 0, Processor.Data32), (S->Rip, _processor.Cpu.Cpl, S->Ss.Selector));
        Assert.Equal([Processor.Program + 7, Processor.UserCode32, 0xAAAA, 0xBBBB, Processor.UserStack - 8, Processor.UserData32], _processor.Frame(6, 4));

        _processor.Execute(0xCA, 8, 0);
        Assert.Equal((Processor.Program + 7, 3, Processor.UserStack), (S->Rip, _processor.Cpu.Cpl, S->Gpr[4]));
    }

    [Fact]
    public void A_call_gate_of_a_higher_privilege_is_closed()
    {
        _processor.Protected(3);
        SetCallGate(Processor.Free, Processor.Code32, 0x6000, dpl: 0);
        Assert.Equal((uint?)Processor.Free, _processor.Faults(Call(0, Processor.Free)).ErrorCode);
        SetCallGate(Processor.Free, Processor.Code32, 0x6000, dpl: 3);
        Assert.Equal((uint?)Processor.Code32, _processor.Faults(Jump(0, Processor.Free)).ErrorCode);
    }

    [Fact]
    public void A_long_mode_call_gate_enters_64_bit_code_with_a_null_stack_segment()
    {
        _processor.Long(3);
        SetCallGate(Processor.Free, Processor.Code64, 0x6000, dpl: 3);
        _processor.SetDescriptor(Processor.Free + 8, 0xFFFF_8000);
        _processor.Memory.Write(0x20000, 0u);
        _processor.Memory.Write(0x20004, (ushort)(Processor.Free | 3));
        _processor.Execute(0xFF, 0x1C, 0x25, 0x00, 0x00, 0x02, 0x00);
        Assert.Equal((0xFFFF_8000_0000_6000, 0, 0), (S->Rip, _processor.Cpu.Cpl, S->Ss.Selector));
        Assert.Equal([Processor.Program + 7, Processor.UserCode64, Processor.UserStack, Processor.UserData32], _processor.Frame(4, 8));
        _processor.Execute(0x48, 0xCB);
        Assert.Equal((Processor.Program + 7, 3, Processor.UserStack), (S->Rip, _processor.Cpu.Cpl, S->Gpr[4]));
    }

    [Fact]
    public void Tasks_are_switched_by_CALL_and_left_by_IRET()
    {
        _processor.Protected();
        const ulong tss = 0x3400;
        _processor.SetDescriptor(Processor.Free, 0x0000_8900_0000_0067 | (tss << 16));
        _processor.Memory.Write(tss + TssLayout.Wide.Ip, 0x7777u);
        _processor.Memory.Write(tss + TssLayout.Wide.Flags, 2u);
        _processor.Memory.Write(tss + TssLayout.Wide.GeneralAt(0), 0xABCDu);
        _processor.Memory.Write(tss + TssLayout.Wide.GeneralAt(4), 0x8800u);
        for (int i = 0; i < 6; i++)
        {
            _processor.Memory.Write(tss + TssLayout.Wide.SegmentAt(i), i == 1 ? (uint)Processor.Code32 : Processor.Data32);
        }

        _processor.Execute(Call(0, Processor.Free));
        Assert.Equal((0x7777ul, 0xABCDul, 0x8800ul, Processor.Free), (S->Rip, S->Gpr[0], S->Gpr[4], S->Tr.Selector));
        Assert.NotEqual(0ul, S->SystemFlags & RflagsBits.Nt);
        Assert.NotEqual(0ul, S->Cr0 & Cr0Bits.Ts);
        Assert.Equal(Processor.TssSelector, _processor.Memory.Read<ushort>(tss));
        Assert.Equal(0x8B, _processor.Memory.Read<byte>(Processor.Gdt + Processor.Free + 5));

        _processor.Execute(0xCF);
        Assert.Equal((Processor.Program + 7, Processor.KernelStack, Processor.TssSelector), (S->Rip, S->Gpr[4], S->Tr.Selector));
        Assert.Equal(0ul, S->SystemFlags & RflagsBits.Nt);
        Assert.Equal(0x89, _processor.Memory.Read<byte>(Processor.Gdt + Processor.Free + 5));
    }
}
