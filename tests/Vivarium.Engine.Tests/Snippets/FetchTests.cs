using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Code whose bytes are in two pages, and code that cannot be fetched.</summary>
public sealed class FetchTests
{
    private const ulong First = Data;
    private const ulong Second = Data + 0x3000;

    /// <summary>"mov eax, imm32" with its last two bytes in another page; then HLT.</summary>
    private static SnippetMachine Split()
    {
        SnippetMachine m = Long();
        m.Pages.Map(Spare, First);
        m.WriteBytes(First + 0xFFD, 0xB8, 0x11, 0x22);
        m.WriteBytes(Second, 0x33, 0x44, 0xF4);
        m.State.Rip = Spare + 0xFFD;
        return m;
    }

    [Fact]
    public void AnInstructionOverTheEndOfAPageRuns()
    {
        using SnippetMachine m = Split();
        m.Pages.Map(Spare + 0x1000, Second);
        m.RunToEnd();
        Assert.Equal(0x4433_2211u, m.Rax);
    }

    [Theory]
    [InlineData(0ul, 0x10u)]
    [InlineData(P | Rw | Xd, 0x11u)]
    public void ItsSecondPageMayFault(ulong flags, uint error)
    {
        using SnippetMachine m = Split();
        m.Pages.Map(Spare + 0x1000, Second, flags);
        Stop stop = m.RunToFault(14);
        Assert.Equal((flags & P) == 0 ? 0x10u : error, stop.ErrorCode);
        Assert.Equal(Spare + 0xFFD, stop.Rip);
        Assert.Equal(Spare + 0x1000, m.State.Cr2);

        m.Pages.Map(Spare + 0x1000, Second);
        m.Restart(stop.Rip);
        m.Rsp = Stack;
        m.RunToEnd();
        Assert.Equal(0x4433_2211u, m.Rax);
    }

    [Fact]
    public void WhenTheSecondPageIsRemappedTheInstructionIsAnother()
    {
        using SnippetMachine m = Split();
        m.Pages.Map(Spare + 0x1000, Second);
        m.WriteBytes(Second, 0x33, 0x44, 0xC3);
        m.WriteBytes(Second + 0x1000, 0x55, 0x66, 0xC3);
        m.State.Rip = Code;
        m.Rbx = m.Pages.Entry(Spare + 0x1000, 12);
        m.Rsi = Spare + 0xFFD;
        m.Rdi = Spare + 0x1000;
        m.Rdx = (Second + 0x1000) | P | Rw;
        m.Rcx = 3;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.call(rsi);
            c.dec(ecx);
            c.jne(again);
            c.mov(r8d, eax);
            c.mov(__qword_ptr[rbx], rdx);
            c.invlpg(__byte_ptr[rdi]);
            c.call(rsi);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x4433_2211u, m.State.Gpr[8]);
        Assert.Equal(0x6655_2211u, m.Rax);
    }

    [Fact]
    public void ChangingTheSecondPagesBytesChangesTheInstruction()
    {
        using SnippetMachine m = Split();
        m.Pages.Map(Spare + 0x1000, Second);
        m.WriteBytes(Second, 0x33, 0x44, 0xC3);
        m.State.Rip = Code;
        m.Rsi = Spare + 0xFFD;
        m.Write(c =>
        {
            c.call(rsi);
            c.mov(r8d, eax);
            c.mov(__word_ptr[rsi + 3], 0x7766);
            c.call(rsi);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x4433_2211u, m.State.Gpr[8]);
        Assert.Equal(0x7766_2211u, m.Rax);
    }

    [Fact]
    public void StraightCodeRunsOnIntoTheNextPage()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, First);
        m.Pages.Map(Spare + 0x1000, Second);
        m.WriteBytes(First + 0xFFE, 0xFF, 0xC0);        // inc eax
        m.WriteBytes(Second, 0xFF, 0xC0, 0xF4);
        m.State.Rip = Spare + 0xFFE;
        m.RunToEnd();
        Assert.Equal(2u, m.Rax);
    }

    [Fact]
    public void SixteenBytesAreNoInstruction()
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Code, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90);
        Stop stop = m.RunToFault(13);
        Assert.Equal(0u, stop.ErrorCode);
        Assert.Equal(Code, stop.Rip);
    }

    [Fact]
    public void FifteenBytesAre()
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Code, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90, 0xF4);
        m.RunToEnd();
    }

    public static TheoryData<string> UndefinedCode =>
    [
        "0F0B",               // ud2
        "0FFFC0",         // ud0
        "0FB9C0",         // ud1
        "06",                     // push es
        "27",                     // daa
        "60",                     // pusha
        "9A000000000000",   // far call
        "D6",                     // salc
        "F090",               // lock nop
        "F001C0",         // lock add eax, eax
        "F08B03",         // lock mov eax, [rbx]
        "F03903",         // lock cmp [rbx], eax
        "0F20C8",         // mov rax, cr1
        "8DC0",               // lea eax, eax
        "8EC8",               // mov cs, eax
        "FEF8",               // group 4 /7
        "FFF8",               // group 5 /7
        "0FC7C8",         // cmpxchg8b with a register
        "0FAA",               // rsm
    ];

    [Theory]
    [MemberData(nameof(UndefinedCode))]
    public void UndefinedCodeIsRefused(string code)
    {
        using SnippetMachine m = Long();
        m.Rbx = Data;
        m.WriteBytes(Code, Convert.FromHexString(code));
        Assert.Equal(Code, m.RunToFault(6).Rip);
    }

    [Fact]
    public void AnUndefinedOpcodeAtTheEndOfAPageNeedsNoMore()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, First);
        m.WriteBytes(First + 0xFFE, 0x0F, 0x0B);
        m.State.Rip = Spare + 0xFFE;
        Assert.Equal(Spare + 0xFFE, m.RunToFault(6).Rip);
    }
}
