using Vivarium.Engine.Software;

namespace Vivarium.Engine.Tests.Privileged;

public sealed unsafe class StringTests : IDisposable
{
    private const int Rax = 0, Rcx = 1, Rsi = 6, Rdi = 7;
    private const byte Rep = 0xF3, Repne = 0xF2;
    private const byte Movsb = 0xA4, Cmpsb = 0xA6, Stosb = 0xAA, Lodsb = 0xAC, Scasb = 0xAE;

    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private NativeState* S => _processor.S;

    /// <summary>
    /// Every instruction, element size, prefix and direction at random places, near page ends and overlapping, against
    /// a reference that moves one element after another.
    /// </summary>
    [Theory]
    [InlineData(8)]
    [InlineData(4)]
    [InlineData(2)]
    public void Results_are_those_of_one_element_after_another(int addressSize)
    {
        if (addressSize == 2)
        {
            _processor.Protected();
        }
        else
        {
            _processor.Long();
        }

        // 16-bit addresses see the first 64 KiB, and wrap.
        ulong windowBase = addressSize == 2 ? 0ul : 0x3F_8000;
        var random = new Random(1234 + addressSize);
        var window = new byte[0x1_0000];
        var expected = new byte[window.Length];
        for (int i = 0; i < 3000; i++)
        {
            // Few values, so that comparisons run on for a while.
            int kinds = i % 3 == 0 ? 2 : 200;
            for (int k = 0; k < 0x800; k++)
            {
                window[random.Next(window.Length)] = (byte)random.Next(kinds);
            }

            var reference = RandomCase(random, addressSize, windowBase);
            window.CopyTo(expected, 0);
            _processor.Memory.Write(windowBase, window);
            LoadRegisters(reference);

            byte[] code = Encode(reference, addressSize);
            _processor.Execute(code);
            reference.Run(expected);

            string what = $"case {i}: {Convert.ToHexString(code)}";
            Assert.False(_processor.Cpu.RaisedFault.Raised, what);
            Assert.True(reference.Rcx == S->Gpr[Rcx] && reference.Rsi == S->Gpr[Rsi] && reference.Rdi == S->Gpr[Rdi], what);
            Assert.True(reference.Rax == S->Gpr[Rax], what);
            Assert.True(reference.Flags == S->ArithmeticFlags, what);
            _processor.Memory.Read(windowBase, window);
            Assert.True(window.AsSpan().SequenceEqual(expected), what);
        }
    }

    private static StringReference RandomCase(Random random, int addressSize, ulong windowBase)
    {
        byte[] opcodes = [Movsb, Cmpsb, Stosb, Lodsb, Scasb];
        byte[] prefixes = [0, Rep, Repne];
        int[] sizes = addressSize == 2 ? [1, 2, 4] : [1, 2, 4, 8];
        int size = sizes[random.Next(sizes.Length)];
        // Up to two pages to each side of the middle, or to the wrap of 16-bit addresses.
        ulong Place() => addressSize == 2
            ? (ulong)(0x7000 + random.Next(0x2000))
            : 0x40_0000ul - 0x800 + (ulong)random.Next(0x1000);
        ulong source = Place();
        ulong destination = random.Next(2) == 0 ? Place() : source + (ulong)random.Next(-40, 41);
        ulong junk = addressSize == 2 ? 0xABCD_0000ul : 0;
        return new StringReference
        {
            WindowBase = windowBase,
            AddressSize = addressSize,
            ElementSize = size,
            Opcode = opcodes[random.Next(opcodes.Length)],
            Prefix = prefixes[random.Next(prefixes.Length)],
            Backward = random.Next(2) == 0,
            Rcx = (uint)random.Next(random.Next(2) == 0 ? 6 : 0x1800 / size) | junk,
            Rsi = source | junk,
            Rdi = destination | junk,
            Rax = (uint)random.Next(200) | 0x1111_1111_1111_0000ul,
            Flags = RflagsBits.Cf | RflagsBits.Af,
        };
    }

    private void LoadRegisters(StringReference reference)
    {
        S->Gpr[Rax] = reference.Rax;
        S->Gpr[Rcx] = reference.Rcx;
        S->Gpr[Rsi] = reference.Rsi;
        S->Gpr[Rdi] = reference.Rdi;
        S->ArithmeticFlags = reference.Flags;
        S->SystemFlags = RflagsBits.Fixed | (reference.Backward ? RflagsBits.Df : 0);
    }

    private static byte[] Encode(StringReference reference, int addressSize)
    {
        List<byte> code = [];
        if (reference.Prefix != 0)
        {
            code.Add(reference.Prefix);
        }

        if (addressSize != 8)
        {
            code.Add(0x67); // from 64-bit code to 32, from 32-bit code to 16
        }

        if (reference.ElementSize == 2)
        {
            code.Add(0x66);
        }

        if (reference.ElementSize == 8)
        {
            code.Add(0x48);
        }

        code.Add(reference.ElementSize == 1 ? reference.Opcode : (byte)(reference.Opcode + 1));
        return [.. code];
    }

    [Fact]
    public void Sixty_four_bit_mode_ignores_a_stack_segment_prefix()
    {
        using var processor = new Processor();
        processor.Long(0);
        processor.S->Gpr[6] = 0x8000_0000_0000_0000;
        processor.S->Gpr[7] = 0x9000;
        Assert.Equal(Vector.GeneralProtection, processor.Faults(0x36, 0xA5).Vector);
    }

    [Fact]
    public void A_fault_in_the_middle_leaves_the_registers_at_the_element()
    {
        _processor.Long();
        _processor.Memory.Write(0x6010, 0ul); // 400000H-5FFFFFH are gone
        _processor.Cpu.FlushTlb(keepGlobal: false);
        S->Gpr[Rcx] = 0x40;
        S->Gpr[Rsi] = 0x20_0000;
        S->Gpr[Rdi] = 0x3F_FFF0;
        _processor.Memory.Write(0x20_0000, Enumerable.Range(1, 0x40).Select(i => (byte)i).ToArray());
        _processor.Execute(Rep, Movsb);

        Assert.Equal((true, Vector.PageFault, 2u), (_processor.Cpu.RaisedFault.Raised, _processor.Cpu.RaisedFault.Vector, _processor.Cpu.RaisedFault.ErrorCode));
        Assert.Equal(0x40_0000ul, S->Cr2);
        Assert.Equal((0x30ul, 0x20_0010ul, 0x40_0000ul), (S->Gpr[Rcx], S->Gpr[Rsi], S->Gpr[Rdi]));

        // Mapped elsewhere, it goes on.
        _processor.Cpu.RaisedFault = default;
        _processor.Memory.Write(0x6010, 0x60_0087ul);
        _processor.Execute(Rep, Movsb);
        Assert.Equal(0ul, S->Gpr[Rcx]);
        Assert.Equal((1, 16), (_processor.Memory.Read<byte>(0x3F_FFF0), _processor.Memory.Read<byte>(0x3F_FFFF)));
        Assert.Equal((17, 64), (_processor.Memory.Read<byte>(0x60_0000), _processor.Memory.Read<byte>(0x60_002F)));
    }

    [Fact]
    public void A_fault_leaves_the_flags_of_a_comparison_as_they_were()
    {
        _processor.Long();
        _processor.Memory.Write(0x6010, 0ul);
        _processor.Cpu.FlushTlb(keepGlobal: false);
        S->Gpr[Rcx] = 0x40;
        S->Gpr[Rax] = 0;
        S->Gpr[Rdi] = 0x3F_FFF0;
        S->ArithmeticFlags = RflagsBits.Of | RflagsBits.Sf;
        _processor.Execute(Rep, Scasb);
        Assert.True(_processor.Cpu.RaisedFault.Raised);
        Assert.Equal(RflagsBits.Of | RflagsBits.Sf, S->ArithmeticFlags);
        Assert.Equal(0x30ul, S->Gpr[Rcx]);
    }

    [Fact]
    public void An_element_that_crosses_into_a_fault_does_not_move()
    {
        _processor.Long();
        _processor.Memory.Write(0x6010, 0ul);
        _processor.Cpu.FlushTlb(keepGlobal: false);
        S->Gpr[Rcx] = 4;
        S->Gpr[Rax] = ulong.MaxValue;
        S->Gpr[Rdi] = 0x3F_FFF4;
        Assert.Equal(Vector.PageFault, _processor.Faults(Rep, 0x48, Stosb + 1).Vector);
        Assert.Equal((3ul, 0x3F_FFFCul, 0x40_0000ul), (S->Gpr[Rcx], S->Gpr[Rdi], S->Cr2));
        Assert.Equal(0u, _processor.Memory.Read<uint>(0x3F_FFFC));
    }

    /// <summary>Both of an element's operands are in a page that is not there: the first one's fault comes first, also where it crosses pages.</summary>
    [Theory]
    [InlineData(0x48, 0xA5, Rsi, Rdi)]
    [InlineData(0x48, 0xA7, Rdi, Rsi)]
    public void One_operand_is_read_before_the_other_is_looked_at(int rex, int opcode, int first, int second)
    {
        _processor.Long();
        _processor.Memory.Write(0x6010, 0ul);
        _processor.Cpu.FlushTlb(keepGlobal: false);
        S->Gpr[Rcx] = 4;
        S->Gpr[first] = 0x3F_FFFC;
        S->Gpr[second] = 0x40_0800;
        Assert.Equal(Vector.PageFault, _processor.Faults(Rep, (byte)rex, (byte)opcode).Vector);
        Assert.Equal(0x40_0000ul, S->Cr2);
    }

    [Fact]
    public void A_kick_comes_between_two_pages()
    {
        _processor.Long();
        S->Gpr[Rcx] = 0x2800;
        S->Gpr[Rax] = 0x5A;
        S->Gpr[Rdi] = 0x20_0000;
        S->ExitRequest = 1;
        ulong rip = S->Rip;
        int times = 1;
        for (_processor.Execute(Rep, Stosb); S->Rip == rip; _processor.Execute(Rep, Stosb))
        {
            times++;
        }

        Assert.Equal(3, times);
        Assert.Equal(0ul, S->Gpr[Rcx]);
        Assert.Equal(0x5A, _processor.Memory.Read<byte>(0x20_27FF));
        Assert.Equal(0, _processor.Memory.Read<byte>(0x20_2800));
    }

    [Fact]
    public void A_single_step_is_one_iteration()
    {
        _processor.Long();
        S->SystemFlags |= RflagsBits.Tf;
        _processor.Cpu.UpdateMode();
        S->Gpr[Rcx] = 2;
        S->Gpr[Rdi] = 0x20_0000;
        ulong rip = S->Rip;
        _processor.Execute(Rep, Stosb);
        Assert.Equal((rip, 1ul), (S->Rip, S->Gpr[Rcx]));
        _processor.Execute(Rep, Stosb);
        Assert.Equal((rip + 2, 0ul), (S->Rip, S->Gpr[Rcx]));
    }

    [Fact]
    public void MMIO_is_accessed_element_by_element()
    {
        _processor.Protected();
        S->Gpr[Rcx] = 3;
        S->Gpr[Rsi] = Processor.MmioGpa;
        S->Gpr[Rdi] = 0x20_0000;
        _processor.Execute(Rep, Movsb + 1);
        Assert.Equal([(Processor.MmioGpa, 4), (Processor.MmioGpa + 4, 4), (Processor.MmioGpa + 8, 4)], _processor.Bus.MmioReads);
        Assert.Equal((uint)Processor.MmioGpa + 8, _processor.Memory.Read<uint>(0x20_0008));
    }

    [Fact]
    public void Segment_limits_hold_for_every_element()
    {
        _processor.Protected();
        S->Es.Limit = 0x20_0007;
        _processor.Cpu.UpdateMode();
        S->Gpr[Rcx] = 0x10;
        S->Gpr[Rdi] = 0x20_0000;
        S->Gpr[Rax] = 1;
        Assert.Equal(Vector.GeneralProtection, _processor.Faults(Rep, Stosb).Vector);
        Assert.Equal((8ul, 0x20_0008ul), (S->Gpr[Rcx], S->Gpr[Rdi]));
    }
}
