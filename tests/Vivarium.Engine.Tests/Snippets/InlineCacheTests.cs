using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Indirect jumps and calls that remember where they went last: what they remember goes with the mapping and the code that it was.</summary>
public sealed class InlineCacheTests
{
    /// <summary>Code that stands still, and floats where it is a program's.</summary>
    private const ulong Low = 0x5_0000;
    private const ulong High = 0x7F12_3456_0000;
    private const ulong First = 0x20_0000;
    private const ulong Second = 0x20_1000;
    private const ulong Caller = 0x20_2000;
    private const int Rounds = 80;

    /// <summary>Bytes of a caller's code before its jump or call.</summary>
    private const int BeforeBranch = 12;

    public enum Form
    {
        CallRegister,
        CallMemory,
        CallRelative,
        JumpRegister,
        JumpRelative,
    }

    public static TheoryData<string, Form, int, bool> Cases
    {
        get
        {
            var cases = new TheoryData<string, Form, int, bool>();
            foreach (string options in (ReadOnlySpan<string>)["", "no-inline-caches", "no-flush-lists", "no-jumps-by-page", "no-paired-returns", "floats-everywhere", "no-floating-code"])
            {
                foreach (Form form in Enum.GetValues<Form>())
                {
                    cases.Add(options, form, 0, false);
                    cases.Add(options, form, 3, false);
                    cases.Add(options, form, 3, true);
                }
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void APageThatIsRemappedByInvlpgIsSeen(string options, Form form, int cpl, bool high)
        => GoWhereItIsMapped(options, form, cpl, high ? High : Low, byPage: true);

    [Theory]
    [MemberData(nameof(Cases))]
    public void APageThatIsRemappedWithCr3IsSeen(string options, Form form, int cpl, bool high)
        => GoWhereItIsMapped(options, form, cpl, high ? High : Low, byPage: false);

    [Theory]
    [MemberData(nameof(Cases))]
    public void ATargetThatIsOverwrittenIsTheNewCode(string options, Form form, int cpl, bool high)
    {
        ulong at = high ? High : Low;
        using SnippetMachine m = Create(options, cpl, at);
        WriteTarget(m, First, 1);
        WriteCaller(m, form, at, c =>
        {
            Label same = c.CreateLabel();
            c.test(ecx, 15);
            c.jnz(same);
            c.mov(__byte_ptr[rdi + 2], cl);
            c.Label(ref same);
        });
        m.Rdi = at + 0x1000;
        m.RunToEnd();

        // Written after the rounds with 80, 64, 48, 32 and 16 to go.
        Assert.Equal(1u + (16 * (80 + 64 + 48 + 32)) + (15 * 16), m.Rbx);
    }

    /// <summary>More often elsewhere than its entry may miss, in turns and then for long.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void SeveralTargetsTakeTurns(string options, Form form, int cpl, bool high)
    {
        const int rounds = 400;
        ulong at = high ? High : Low;
        using SnippetMachine m = Create(options, cpl, at);
        WriteTarget(m, First, 1);
        WriteTarget(m, First + 0x100, 0x100);
        WriteCaller(m, form, at, c =>
        {
            Label same = c.CreateLabel();
            c.test(ecx, 0x41);
            c.jnz(same);
            c.xor(rdx, 0x100);
            c.mov(__qword_ptr[rsi], rdx);
            c.Label(ref same);
        }, rounds);
        m.RunToEnd();
        ulong expected = 0;
        for ((int count, ulong added) = (rounds, 1); count > 0; count--)
        {
            expected += added;
            added = (count & 0x41) == 0 ? added ^ 0x101 : added;
        }

        Assert.Equal(expected, m.Rbx);
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void ATargetThatIsNotCanonicalFaultsWithTheStackUnchanged(string options, Form form, int cpl, bool high)
    {
        const ulong notCanonical = 0x1234_0000_0000_0000;
        ulong at = high ? High : Low;
        using SnippetMachine m = Create(options, cpl, at);
        WriteTarget(m, First, 1);
        WriteCaller(m, form, at, c =>
        {
            c.mov(rdx, notCanonical);
            c.mov(__qword_ptr[rsi], rdx);
        });
        ulong stack = m.Rsp;
        Stop stop = m.RunToFault(13);
        Assert.Equal(1u, m.Rbx);
        Assert.Equal((at + BeforeBranch, stack), (stop.Rip, stop.Rsp));
    }

    private static void GoWhereItIsMapped(string options, Form form, int cpl, ulong at, bool byPage)
    {
        using SnippetMachine m = Create(options, cpl, at);
        WriteTarget(m, First, 1);
        WriteTarget(m, Second, 0x100);
        WriteCaller(m, form, at, c => c.@int(0x30));
        m.SetRemapper(at + 0x1000, First ^ Second, byPage);
        m.RunToEnd();
        Assert.Equal((Rounds / 2) + (Rounds / 2 * 0x100ul), m.Rbx);
    }

    /// <summary>A loop that goes to where RDX and the pointer at RSI say, the next page at first.</summary>
    private static void WriteCaller(SnippetMachine m, Form form, ulong at, Action<Assembler> each, int rounds = Rounds)
    {
        ulong end = m.Write(at, c =>
        {
            Label again = c.CreateLabel(), back = c.CreateLabel(), data = c.CreateLabel();
            c.mov(ecx, rounds);
            c.lea(rbp, __[back]);
            c.Label(ref again);
            switch (form)
            {
                case Form.CallRegister:
                    c.call(rdx);
                    break;
                case Form.CallMemory:
                    c.call(__qword_ptr[rsi]);
                    break;
                case Form.CallRelative:
                    c.call(__qword_ptr[data]);
                    break;
                case Form.JumpRegister:
                    c.jmp(rdx);
                    break;
                default:
                    c.jmp(__qword_ptr[data]);
                    break;
            }

            c.nop();
            c.Label(ref back);
            c.nop();
            each(c);
            c.dec(ecx);
            c.jnz(again);
            c.@int(EndVector);
            c.Label(ref data);
            c.dq(at + 0x1000);
        }, physical: Caller);
        m.Rdx = at + 0x1000;
        m.Rsi = end - 8;
        if (form is not (Form.JumpRegister or Form.JumpRelative))
        {
            // RET instead of JMP RBP.
            foreach (ulong target in (ReadOnlySpan<ulong>)[First, First + 0x100, Second])
            {
                m.Memory.Write(target + 6, (byte)0xC3);
            }
        }

        m.State.Rip = at;
    }

    /// <summary>ADD EBX, imm32, and back by JMP RBP.</summary>
    private static void WriteTarget(SnippetMachine m, ulong physical, uint value)
        => m.Memory.Write(physical, [0x81, 0xC3, .. BitConverter.GetBytes(value), 0xFF, 0xE5]);

    private static SnippetMachine Create(string options, int cpl, ulong at)
    {
        SnippetMachine m = Long(cpl, options: EngineOptions.Parse(options));
        m.Pages.Map(at, Caller);
        m.Pages.Map(at + 0x1000, First);
        return m;
    }
}
