using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class DecimalAdjustTests : IDisposable
{
    private const ulong Carries = RflagsBits.Cf | RflagsBits.Af;

    private readonly Processor _processor = new Processor().Protected();

    public void Dispose() => _processor.Dispose();

    private (ulong Ax, ulong Flags) Run(ulong ax, ulong flags, params byte[] code)
    {
        _processor.S->Gpr[0] = ax;
        _processor.S->ArithmeticFlags = flags;
        _processor.Execute(code);
        return (_processor.S->Gpr[0], _processor.S->ArithmeticFlags);
    }

    /// <summary>Adding or subtracting two packed decimal numbers in binary and adjusting gives the decimal result.</summary>
    [Fact]
    public void DAA_and_DAS_correct_binary_sums_and_differences()
    {
        for (int a = 0; a < 100; a++)
        {
            for (int b = 0; b < 100; b++)
            {
                int x = Packed(a), y = Packed(b);
                ulong carries = (x + y > 0xFF ? RflagsBits.Cf : 0) | ((x & 0xF) + (y & 0xF) > 0xF ? RflagsBits.Af : 0);
                var sum = Run((byte)(x + y), carries, 0x27);
                Assert.Equal((ulong)Packed((a + b) % 100), sum.Ax);
                Assert.Equal(a + b > 99, (sum.Flags & RflagsBits.Cf) != 0);

                ulong borrows = (x < y ? RflagsBits.Cf : 0) | ((x & 0xF) < (y & 0xF) ? RflagsBits.Af : 0);
                var difference = Run((byte)(x - y), borrows, 0x2F);
                Assert.Equal((ulong)Packed((a - b + 100) % 100), difference.Ax);
                Assert.Equal(a < b, (difference.Flags & RflagsBits.Cf) != 0);
            }
        }

        static int Packed(int value) => (value / 10 << 4) | (value % 10);
    }

    // From the manual's examples and corners.
    [Theory]
    [InlineData(0x27, 0xAEul, 0ul, 0x14ul, Carries)] // DAA
    [InlineData(0x27, 0x2Eul, 0ul, 0x34ul, RflagsBits.Af)]
    [InlineData(0x2F, 0xEEul, 0ul, 0x88ul, Carries)] // DAS
    [InlineData(0x2F, 0x03ul, RflagsBits.Af, 0xFDul, Carries)]
    [InlineData(0x37, 0x000Ful, 0ul, 0x0105ul, Carries)] // AAA
    [InlineData(0x37, 0x02FAul, 0ul, 0x0400ul, Carries)] // AX + 106H carries into AH
    [InlineData(0x37, 0x0105ul, 0ul, 0x0105ul, 0ul)]
    [InlineData(0x3F, 0x02FFul, 0ul, 0x0109ul, Carries)] // AAS
    [InlineData(0x3F, 0x0205ul, RflagsBits.Af, 0x000Ful, Carries)]
    public void Corrections(byte opcode, ulong ax, ulong flags, ulong expected, ulong carries)
    {
        var result = Run(ax, flags, opcode);
        Assert.Equal(expected, result.Ax);
        Assert.Equal(carries, result.Flags & Carries);
    }

    [Fact]
    public void AAM_and_AAD_take_any_base()
    {
        Assert.Equal(0x0909ul, Run(99, 0, 0xD4, 10).Ax);
        Assert.Equal(0x0F0Ful, Run(0xFF, 0, 0xD4, 16).Ax);
        Assert.Equal(99ul, Run(0x0909, 0, 0xD5, 10).Ax);
        Assert.Equal(RflagsBits.Zf | RflagsBits.Pf, Run(0, Carries, 0xD5, 10).Flags);
        Run(1, 0, 0xD4, 0);
        Assert.Equal((true, Vector.DivideError), (_processor.Cpu.RaisedFault.Raised, _processor.Cpu.RaisedFault.Vector));
    }

    [Fact]
    public void BOUND_compares_signed()
    {
        _processor.Memory.Write(0x1_0000, -5);
        _processor.Memory.Write(0x1_0004, 5);
        _processor.S->Gpr[3] = 0x1_0000;
        foreach (int inside in new[] { -5, 0, 5 })
        {
            Run((uint)inside, 0, 0x62, 0x03); // BOUND EAX, [EBX]
            Assert.False(_processor.Cpu.RaisedFault.Raised);
        }

        Run(6, 0, 0x62, 0x03);
        Assert.Equal(Vector.BoundRange, _processor.Cpu.RaisedFault.Vector);
    }

    [Fact]
    public void PUSHA_and_POPA_are_inverse_but_for_ESP()
    {
        for (int i = 0; i < 8; i++)
        {
            _processor.S->Gpr[i] = i == 4 ? Processor.KernelStack : 0x100u + (uint)i;
        }

        _processor.Execute(0x60);
        Assert.Equal([0x107, 0x106, 0x105, Processor.KernelStack, 0x103, 0x102, 0x101, 0x100], _processor.Frame(8, 4));
        for (int i = 0; i < 8; i++)
        {
            _processor.S->Gpr[i] = i == 4 ? _processor.S->Gpr[4] : 0;
        }

        _processor.Execute(0x61);
        for (int i = 0; i < 8; i++)
        {
            Assert.Equal(i == 4 ? Processor.KernelStack : 0x100u + (uint)i, _processor.S->Gpr[i]);
        }
    }

    [Fact]
    public void ENTER_copies_the_display()
    {
        _processor.S->Gpr[5] = 0x8800;
        _processor.Memory.Write(0x87FC, 0x1111);
        _processor.Execute(0xC8, 0x10, 0x00, 0x02); // ENTER 16, 2
        uint frame = (uint)Processor.KernelStack - 4;
        Assert.Equal(frame, _processor.S->Gpr[5]);
        Assert.Equal(frame - 8 - 16, _processor.S->Gpr[4]);
        Assert.Equal((0x8800u, 0x1111u, frame), (_processor.Memory.Read<uint>(frame), _processor.Memory.Read<uint>(frame - 4), _processor.Memory.Read<uint>(frame - 8)));
    }
}
