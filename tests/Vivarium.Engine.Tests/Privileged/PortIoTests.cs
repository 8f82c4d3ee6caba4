using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class PortIoTests : IDisposable
{
    private const int Rax = 0, Rcx = 1, Rdx = 2, Rsi = 6, Rdi = 7;
    private const ulong BitmapOffset = 0x68;

    private static readonly byte[] InAlDx = [0xEC];
    private static readonly byte[] OutDxEax = [0xEF];

    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private NativeState* S => _processor.S;

    [Fact]
    public void IN_merges_as_every_register_write_does()
    {
        _processor.Long();
        S->Gpr[Rax] = ulong.MaxValue;
        S->Gpr[Rdx] = 0x60;
        _processor.Bus.PortAnswers.Enqueue(0x12);
        _processor.Execute(InAlDx);
        Assert.Equal(0xFFFF_FFFF_FFFF_FF12, S->Gpr[Rax]);
        _processor.Bus.PortAnswers.Enqueue(0x3456_789A);
        _processor.Execute(0xE5, 0x70); // IN EAX, 70H
        Assert.Equal(0x3456_789Aul, S->Gpr[Rax]);
    }

    [Fact]
    public void OUT_passes_port_size_and_value()
    {
        _processor.Long();
        S->Gpr[Rax] = 0xAAAA_BBBB_CCCC_DDDD;
        S->Gpr[Rdx] = 0x1_0CF8;
        _processor.Execute(OutDxEax);
        _processor.Execute(0xE6, 0xE9); // OUT E9H, AL
        Assert.Equal([(0xCF8, 4, 0xCCCC_DDDD), (0xE9, 1, 0xDD)], _processor.Bus.PortWrites);
    }

    [Fact]
    public void Ring_3_needs_IOPL_or_clear_bits_in_the_bitmap()
    {
        _processor.Protected(3);
        S->Gpr[Rdx] = 0x3F8;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(InAlDx).Vector);

        S->Tr.Limit = 0x200;
        _processor.Memory.Write(Processor.Tss + 0x66, (ushort)BitmapOffset);
        _processor.Memory.Write(Processor.Tss + BitmapOffset, Enumerable.Repeat((byte)0xFF, 0x190).ToArray());
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(InAlDx).Vector);

        _processor.Memory.Write(Processor.Tss + BitmapOffset + (0x3F8 / 8), (byte)0xFE);
        _processor.Execute(InAlDx);
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(OutDxEax).Vector); // four ports

        S->SystemFlags |= RflagsBits.Iopl;
        _processor.Execute(OutDxEax);
        _processor.Virtual8086();
        S->SystemFlags |= RflagsBits.Iopl;
        S->Tr.Limit = 0x67;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(InAlDx).Vector); // IOPL does not count here
    }

    [Fact]
    public void The_bitmap_ends_with_the_TSS()
    {
        _processor.Protected(3);
        S->Tr.Limit = (uint)BitmapOffset + 1; // ports 0 to 7, and the byte that is read along
        _processor.Memory.Write(Processor.Tss + 0x66, (ushort)BitmapOffset);
        S->Gpr[Rdx] = 7;
        _processor.Execute(InAlDx);
        S->Gpr[Rdx] = 8;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(InAlDx).Vector);
    }

    [Fact]
    public void INS_does_not_read_the_port_before_memory_is_known_to_be_writable()
    {
        _processor.Long();
        _processor.Memory.Write(0x6010, 0ul); // 400000H-5FFFFFH are gone
        _processor.Cpu.FlushTlb(keepGlobal: false);
        _processor.Bus.PortAnswers.Enqueue(0x1111);
        _processor.Bus.PortAnswers.Enqueue(0x2222);
        S->Gpr[Rcx] = 3;
        S->Gpr[Rdx] = 0x1F0;
        S->Gpr[Rdi] = 0x3F_FFFE;
        _processor.Execute(0xF3, 0x66, 0x6D);
        Assert.Equal((true, Vector.PageFault, 2u), (_processor.Cpu.RaisedFault.Raised, _processor.Cpu.RaisedFault.Vector, _processor.Cpu.RaisedFault.ErrorCode));
        Assert.Equal(0x40_0000ul, S->Cr2);
        Assert.Equal((2ul, 0x40_0000ul), (S->Gpr[Rcx], S->Gpr[Rdi]));
        Assert.Single(_processor.Bus.PortAnswers);
        Assert.Equal(0x1111, _processor.Memory.Read<ushort>(0x3F_FFFE));
    }

    [Fact]
    public void OUTS_writes_each_element_and_yields_to_a_kick()
    {
        _processor.Long();
        _processor.Memory.Write(0x20_0000, 0x0403_0201u);
        S->Gpr[Rcx] = 4;
        S->Gpr[Rdx] = 0xE9;
        S->Gpr[Rsi] = 0x20_0000;
        S->ExitRequest = 1;
        ulong rip = S->Rip;
        _processor.Execute(0xF3, 0x6E);
        Assert.Equal((rip, 3ul), (S->Rip, S->Gpr[Rcx]));
        S->ExitRequest = 0;
        _processor.Execute(0xF3, 0x6E);
        Assert.Equal(rip + 2, S->Rip);
        Assert.Equal([1u, 2u, 3u, 4u], _processor.Bus.PortWrites.Select(write => write.Value));
    }
}
