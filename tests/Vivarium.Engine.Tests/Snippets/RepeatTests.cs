using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>REP MOVS and REP STOS, cold and with warm TLBs: within a page, over its end, backward, overlapping, of user pages.</summary>
public sealed class RepeatTests
{
    private const int Window = 0x7000;
    private const ulong Source = Data + 0x2000;
    private const ulong Destination = Data + 0x5000;

    private static readonly (int From, int To, int Count)[] Shapes =
    [
        (0, 0, 0), (0, 0, 1), (8, 16, 5), (0, 0, 0x1000), (0, 0, 0x1001), (0xFF0, 0xFF0, 0x10), (0xFF0, 0, 0x18), (0, 0xFF0, 0x18),
        (0xFFD, 0x3, 7), (0x800, -0x27FF, 0x300), (0x801, -0x2800, 0x300),
    ];

    public static TheoryData<bool, int, bool, int> Cases
    {
        get
        {
            var data = new TheoryData<bool, int, bool, int>();
            foreach (bool move in new[] { true, false })
            {
                for (int shift = 0; shift < 4; shift++)
                {
                    data.Add(move, shift, false, 0);
                    data.Add(move, shift, true, 0);
                    data.Add(move, shift, false, 3);
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void RepeatedMovesAndStoresGoElementByElement(bool move, int shift, bool backward, int cpl)
    {
        using SnippetMachine m = Long(cpl);
        byte operation = (byte)((move ? 0xA4 : 0xAA) + (shift == 0 ? 0 : 1));

        // The same instruction thrice: cold, then with the pages known. STC before and SETC BL after: flags live on.
        byte[] one = shift switch { 1 => [0x66, 0xF3, operation], 3 => [0xF3, 0x48, operation], _ => [0xF3, operation] };
        byte[] again = [0x4C, 0x89, 0xC6, 0x4C, 0x89, 0xCF, 0x4C, 0x89, 0xD1]; // mov rsi, r8; mov rdi, r9; mov rcx, r10
        m.WriteBytes(Code, [backward ? (byte)0xFD : (byte)0xFC, 0xF9, .. again, .. one, .. again, .. one, .. again, .. one, 0x0F, 0x92, 0xC3, 0xCD, EndVector]);
        foreach ((int from, int to, int count) in Shapes)
        {
            byte[] memory = new byte[Window];
            new Random(from + to + count).NextBytes(memory);
            m.Memory.Write(Data, memory);
            m.State.Rip = Code;
            m.Load(1, cpl == 0 ? Code64 : UserCode64);
            m.Load(2, cpl == 0 ? Data32 : UserData32);
            m.Rsp = cpl == 0 ? Stack : UserStack;
            m.State.Halted = false;
            m.State.Rflags = 2;
            m.Rax = 0x8877_6655_4433_2211;
            m.Rbx = 0;
            m.State.Gpr[8] = Source + (ulong)from;
            m.State.Gpr[9] = Destination + (ulong)to;
            int elements = count >> shift;
            m.State.Gpr[10] = (ulong)elements;
            m.RunToEnd();

            int size = 1 << shift;
            int step = backward ? -size : size;
            for (int pass = 0; pass < 3; pass++)
            {
                for (int i = 0; i < elements; i++)
                {
                    int target = (int)(Destination - Data) + to + (i * step);
                    ReadOnlySpan<byte> value = move
                        ? memory[((int)(Source - Data) + from + (i * step))..][..size]
                        : BitConverter.GetBytes(m.Rax).AsSpan(0, size);
                    value.CopyTo(memory.AsSpan(target));
                }
            }

            byte[] actual = new byte[Window];
            m.Memory.Read(Data, actual);
            Assert.Equal(memory, actual);
            Assert.Equal(0u, m.Rcx);
            Assert.Equal(Destination + (ulong)to + (ulong)(elements * step), m.Rdi);
            Assert.Equal(Source + (ulong)from + (ulong)(move ? elements * step : 0), m.Rsi);
            Assert.Equal(1u, m.Rbx & 1);
        }
    }

    [Fact]
    public void ARepeatedStoreOverTranslatedCodeIsSeen()
    {
        using SnippetMachine m = Long();
        m.Write(Code + 0x800, c =>
        {
            c.inc(ebx);
            c.ret();
        });
        m.Rdi = Code + 0x800;
        m.Rcx = 2;
        m.Rax = 0x90;
        m.Write(c =>
        {
            c.mov(r8, rdi);
            c.mov(__byte_ptr[rdi + 0x100], al);
            c.call(Code + 0x800);
            c.rep.stosb();
            c.call(Code + 0x800);
            c.mov(rdi, r8);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(1u, m.Rbx);
    }

    [Fact]
    public void ARepeatedMoveFaultsAtTheFirstElementThatCannotBeMoved()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data + 0x1000, 0b11);
        m.Rsi = Data;
        m.Rdi = Spare;
        m.Write(c =>
        {
            c.mov(ecx, 0x10);
            c.rep.movsb();
            c.mov(rdi, Spare + 0xFF0);
            c.mov(ecx, 0x20);
            c.rep.movsb();
            c.hlt();
        });
        m.RunToFault(14);
        Assert.Equal(Spare + 0x1000, m.State.Cr2);
        Assert.Equal(Spare + 0x1000, m.Rdi);
        Assert.Equal(Data + 0x20, m.Rsi);
        Assert.Equal(0x10u, m.Rcx);
    }

    public static TheoryData<string, int, bool, bool> BothMissing
    {
        get
        {
            var data = new TheoryData<string, int, bool, bool>();
            foreach (string operation in new[] { "movs", "cmps" })
            {
                foreach (int prefix in new[] { 0, 0xF2, 0xF3 })
                {
                    foreach (bool backward in new[] { false, true })
                    {
                        data.Add(operation, prefix, backward, false);
                        data.Add(operation, prefix, backward, true);
                    }
                }
            }

            return data;
        }
    }

    /// <summary>MOVS begins with its source, CMPS with its second operand, as the host does; across two pages the first one that is missing counts.</summary>
    [Theory]
    [MemberData(nameof(BothMissing))]
    public void OfTwoMissingOperandsTheHostsFirstIsNamed(string operation, int prefix, bool backward, bool crossing)
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data, 0b11);
        m.Pages.Map(Spare + 0x10_000, Data + 0x1000, 0b11);
        ulong inPage = crossing ? 0xFFFu : 0x1100u;
        m.Rsi = Spare + inPage;
        m.Rdi = Spare + 0x10_000 + inPage;
        m.Rcx = 3;
        byte[] instruction = [0x66, (byte)(operation == "movs" ? 0xA5 : 0xA7)];
        m.WriteBytes(Code, [backward ? (byte)0xFD : (byte)0xFC, .. prefix == 0 ? instruction : [(byte)prefix, .. instruction], 0xF4]);
        m.RunToFault(14);
        ulong first = operation == "movs" ? m.Rsi : m.Rdi;
        Assert.Equal(crossing ? first + 1 : first, m.State.Cr2);
        Assert.Equal(3u, m.Rcx);
    }

    /// <summary>The other operand's address is not even canonical: that is found out when its turn comes.</summary>
    [Theory]
    [InlineData("movs", true, 14)]
    [InlineData("movs", false, 13)]
    [InlineData("cmps", true, 13)]
    [InlineData("cmps", false, 14)]
    public void AnOperandIsLookedAtWholeBeforeTheOther(string operation, bool sourceMissing, int vector)
    {
        using SnippetMachine m = Long();
        const ulong notCanonical = 0x8000_0000_0000_0000;
        m.Rsi = sourceMissing ? Spare : notCanonical;
        m.Rdi = sourceMissing ? notCanonical : Spare;
        m.Rcx = 3;
        m.WriteBytes(Code, [0xF3, (byte)(operation == "movs" ? 0xA4 : 0xA6), 0xF4]);
        m.RunToFault(vector);
        Assert.Equal(vector == 14 ? Spare : 0, m.State.Cr2);
    }
}
