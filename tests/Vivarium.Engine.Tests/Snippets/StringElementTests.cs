using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>MOVS, STOS and LODS of one element in code of all sizes: both directions, ends of pages, segments, wrap of the index (SDM vol. 2).</summary>
public sealed class StringElementTests
{
    private const int Rounds = 3;
    private const ulong Garbage = 0x8877_6655_4433_2211;
    private const ulong ShortGarbage = 0x4433_2211;

    public static TheoryData<int, string, int, bool, bool> Cases
    {
        get
        {
            var data = new TheoryData<int, string, int, bool, bool>();
            foreach (int bits in new[] { 16, 32, 64 })
            {
                foreach (string operation in new[] { "movs", "stos", "lods" })
                {
                    for (int shift = 0; shift < (bits == 64 ? 4 : 3); shift++)
                    {
                        data.Add(bits, operation, shift, false, false);
                        data.Add(bits, operation, shift, true, false);
                        data.Add(bits, operation, shift, false, true);
                    }
                }
            }

            return data;
        }
    }

    /// <summary>Three elements in a row, the second of which lies across two pages if the first does not end at one.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void AnElementMovesTheIndexByItsSize(int bits, string operation, int shift, bool backward, bool crossing)
    {
        using SnippetMachine m = bits switch { 16 => Real(), 32 => Protected(), _ => Long() };
        ulong code = m.State.Rip;
        byte element = (byte)((operation switch { "movs" => 0xA4, "stos" => 0xAA, _ => 0xAC }) + (shift == 0 ? 0 : 1));
        byte[] one = (bits, shift) switch
        {
            (16, 2) or (32, 1) or (64, 1) => [0x66, element],
            (64, 3) => [0x48, element],
            _ => [element],
        };
        byte[] end = bits == 16 ? [0xF4] : [0xCD, EndVector];
        m.WriteBytes(code, [backward ? (byte)0xFD : (byte)0xFC, 0xF9, .. one, .. one, .. one, 0x0F, 0x92, 0xC3, .. end]); // std/cld; stc; ...; setc bl

        int size = 1 << shift;
        ulong source = 0x3000u + (crossing ? 0xFFFu : 0x800u);
        ulong target = 0x5000u + (crossing ? 0xFFFu : 0x800u);
        ulong segment = bits == 16 ? 0x3_0000u : 0;
        ulong offset = bits == 16 ? 0 : Data;
        for (int pass = 0; pass < 2; pass++)
        {
            byte[] memory = new byte[0x8000];
            new Random(pass).NextBytes(memory);
            m.Memory.Write(Data, memory);
            if (bits == 16)
            {
                m.State.Segments[3].Base = segment;
                m.State.Segments[0].Base = segment;
            }

            // What stands above an index of 16 bits is not looked at, and stays.
            ulong above = bits == 16 ? 0x7_0000u : 0;
            m.Rsi = above | (offset + source);
            m.Rdi = above | (offset + target);
            m.Rax = bits == 64 ? Garbage : ShortGarbage;
            m.Rbx = 0;
            m.Restart(code);
            m.RunToEnd();

            int step = backward ? -size : size;
            ulong accumulator = bits == 64 ? Garbage : ShortGarbage;
            for (int i = 0; i < Rounds; i++)
            {
                Span<byte> from = memory.AsSpan((int)source + (i * step), size);
                Span<byte> to = memory.AsSpan((int)target + (i * step), size);
                switch (operation)
                {
                    case "movs":
                        from.CopyTo(to);
                        break;
                    case "stos":
                        BitConverter.GetBytes(accumulator)[..size].CopyTo(to);
                        break;
                    default:
                        byte[] wide = BitConverter.GetBytes(size == 4 ? 0 : accumulator);
                        from.CopyTo(wide);
                        accumulator = BitConverter.ToUInt64(wide);
                        break;
                }
            }

            byte[] actual = new byte[memory.Length];
            m.Memory.Read(Data, actual);
            Assert.Equal(memory, actual);
            ulong moved = (ulong)(Rounds * step);
            Assert.Equal(operation == "stos" ? 0 : moved, m.Rsi - (above | (offset + source)));
            Assert.Equal(operation == "lods" ? 0 : moved, m.Rdi - (above | (offset + target)));
            Assert.Equal(accumulator, m.Rax);
            Assert.Equal(1u, m.Rbx & 1);
        }
    }

    [Fact]
    public void AnIndexOf16BitsWraps()
    {
        using SnippetMachine m = Real();
        m.State.Segments[3].Base = 0x3_0000;
        m.State.Segments[0].Base = 0x4_0000;
        m.Memory.Write<byte>(0x3_FFFF, 0x42);
        m.Rsi = 0x1234_FFFF;
        m.Rdi = 0x5678_FFFF;
        m.Write(c =>
        {
            c.movsb();
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((0x1234_0000ul, 0x5678_0000ul, (byte)0x42), (m.Rsi, m.Rdi, m.Memory.Read<byte>(0x4_FFFF)));
    }

    [Fact]
    public void TheSourcesSegmentMayBeAnother()
    {
        using SnippetMachine m = Real();
        m.State.Segments[4].Base = 0x3_0000;
        m.Memory.Write<ushort>(0x3_0010, 0x4321);
        m.Rsi = 0x10;
        m.WriteBytes(RealCode, 0x64, 0xAD, 0xF4); // lodsw fs:[si]; hlt
        m.RunToEnd();
        Assert.Equal(0x4321u, m.Rax);
    }

    [Fact]
    public void AnElementBeyondTheLimitFaultsWithNothingChanged()
    {
        using SnippetMachine m = Real();
        m.Rsi = 0x600;
        m.Rdi = 0xFFFF;
        m.Write(c => c.movsw());
        Stop stop = m.RunToFault(13);
        Assert.Equal((RealCode, 0x600ul, 0xFFFFul), (stop.Rip, m.Rsi, m.Rdi));
    }

    [Fact]
    public void AnElementWrittenOverTheNextInstructionIsSeen()
    {
        using SnippetMachine m = Protected();
        m.Rdi = Code + 1;
        m.Rax = 0x43;                                     // inc ebx
        m.WriteBytes(Code, 0xAA, 0x90, 0xCD, EndVector);  // stosb; nop
        m.RunToEnd();
        Assert.Equal(1u, m.Rbx);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RepeatedElementsOfFlat32BitCodeWrapAt4Gigabytes(bool move)
    {
        using SnippetMachine m = Protected(paging: PagingMode.Bits32);
        m.Pages.Map(0xFFFF_F000, Data);
        byte[] below = new byte[0x100], above = new byte[0x100];
        new Random(1).NextBytes(below);
        new Random(2).NextBytes(above);
        m.Memory.Write(Data + 0xF00, below);
        m.Memory.Write(0, above);
        m.Rsi = 0xFFFF_FF00;
        m.Rdi = Data + 0x1000;
        m.Rax = 0x1234_5678;
        m.Write(c =>
        {
            for (int i = 0; i < 3; i++)
            {
                c.mov(esi, unchecked((int)0xFFFF_FF00));
                c.mov(edi, (int)(Data + 0x1000));
                c.mov(ecx, 0x80);
                if (move)
                {
                    c.rep.movsd();
                }
                else
                {
                    c.rep.stosd();
                }
            }

            c.@int((sbyte)EndVector);
        });
        m.RunToEnd();
        Assert.Equal((move ? 0x100ul : 0xFFFF_FF00ul, Data + 0x1200, 0ul), (m.Rsi, m.Rdi, m.Rcx));
        byte[] copied = new byte[0x200];
        m.Memory.Read(Data + 0x1000, copied);
        Assert.Equal(move ? [.. below, .. above] : [.. Enumerable.Range(0, copied.Length).Select(i => (byte)(0x1234_5678 >> (8 * (i % 4))))], copied);
    }
}
