using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Pages of code that are mapped in several places above 4 GiB: one translation serves all, and each place sees its own addresses.</summary>
public sealed class FloatingCodeTests
{
    private const ulong Here = 0x7F12_3456_0000;
    private const ulong There = 0x55AA_0000_3000;

    public static TheoryData<string> Options => ["", "no-floating-code", "no-paired-returns", "no-linking", "no-jumps-by-page", "no-jump-sites", "no-flush-lists", "loops-at-once"];

    /// <summary>Addresses relative to RIP, calls, returns and jumps across pages, from wherever it runs.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void EachPlaceSeesItsOwnAddresses(string options)
    {
        using SnippetMachine m = Create(options);
        Label value = default, function = default;
        m.Write(Here, c =>
        {
            value = c.CreateLabel();
            function = c.CreateLabel();
            Label again = c.CreateLabel(), skip = c.CreateLabel(), far = c.CreateLabel();
            c.mov(ecx, 4);
            c.Label(ref again);
            c.lea(rax, __[value]);
            c.mov(rdx, __qword_ptr[value]);
            c.call(function);
            c.call(rbx);
            c.cmp(ecx, 3);
            c.jae(far);
            c.Label(ref skip);
            c.dec(ecx);
            c.jnz(again);
            c.@int(EndVector);
            c.Label(ref function);
            c.mov(rsi, __qword_ptr[rsp]);
            c.lea(rbx, __[function]);
            c.add(r8, 1);
            c.ret();
            c.Label(ref value);
            c.dq(0x1122_3344_5566_7788ul);
            while (c.Instructions.Count < 4200)
            {
                c.nop();
            }

            c.Label(ref far);
            c.pushfq();
            c.pop(r9);
            c.jmp(skip);
        }, physical: SnippetMachine.Code);
        foreach (ulong place in (ReadOnlySpan<ulong>)[Here, There, Here])
        {
            GoTo(m, place);
            m.Rbx = place + FunctionOffset(m);
            m.State.Gpr[8] = 0;
            m.RunToEnd();
            Assert.Equal((m.Rax & ~0xFFFul, 0x1122_3344_5566_7788ul), (place, m.Rdx));
            Assert.Equal((place, place), (m.Rsi & ~0xFFFul, m.Rbx & ~0xFFFul));
            Assert.Equal((8ul, 0x44ul), (m.State.Gpr[8], m.State.Gpr[9] & 0x8D5));
        }
    }

    [Fact]
    public void OneTranslationServesAllPlaces()
    {
        using SnippetMachine m = Create("");
        m.Write(Here, c =>
        {
            c.mov(eax, 1);
            c.@int(EndVector);
        }, physical: SnippetMachine.Code);
        m.State.Rip = Here;
        m.RunToEnd();
        long before = m.Cpu.Statistics.BlocksTranslated;
        GoTo(m, There);
        m.RunToEnd();

        // The handler's own code is there already, too.
        Assert.Equal(0, m.Cpu.Statistics.BlocksTranslated - before);
    }

    /// <summary>The call begins in one page and ends in the next, whose neighbour is another in each place.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void ACallThatCrossesPagesReturns(string options)
    {
        using SnippetMachine m = Create(options);
        ulong at = Here + 0xFFE;
        m.Write(at, c =>
        {
            Label function = c.CreateLabel(), end = c.CreateLabel();
            c.call(function);
            c.lea(rax, __[end]);
            c.Label(ref end);
            c.@int(EndVector);
            c.Label(ref function);
            c.mov(rdx, __qword_ptr[rsp]);
            c.ret();
        }, physical: SnippetMachine.Code + 0xFFE);
        foreach (ulong place in (ReadOnlySpan<ulong>)[Here, There, Here])
        {
            GoTo(m, place + 0xFFE);
            m.RunToEnd();
            Assert.Equal((place + 0x1003, place + 0x1003 + 7), (m.Rdx, m.Rax));
        }
    }

    /// <summary>The loop is come to from its own page, so that RIP is another when it begins anew for the next page of its data.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void ALoopThatGoesOnInAnotherPageKnowsItsPlace(string options)
    {
        using SnippetMachine m = Create(options);
        ulong end = m.Write(Here, c =>
        {
            Label again = c.CreateLabel(), value = c.CreateLabel();
            c.mov(rsi, Data);
            c.mov(ecx, 0x300);
            c.Label(ref again);
            c.add(rax, __qword_ptr[rsi]);
            c.lea(rdx, __[value]);
            c.add(rsi, 16);
            c.dec(ecx);
            c.jnz(again);
            c.@int(EndVector);
            c.Label(ref value);
            c.nop();
        }, physical: SnippetMachine.Code);
        foreach (ulong place in (ReadOnlySpan<ulong>)[Here, There])
        {
            GoTo(m, place);
            m.RunToEnd();
            Assert.Equal(place + (end - 1 - Here), m.Rdx);
        }
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void AFaultNamesThePlace(string options)
    {
        using SnippetMachine m = Create(options);
        m.Write(Here, c =>
        {
            Label over = c.CreateLabel();
            c.xor(ecx, ecx);
            c.jnz(over);
            c.div(ecx);
            c.Label(ref over);
            c.nop();
        }, physical: SnippetMachine.Code);
        foreach (ulong place in (ReadOnlySpan<ulong>)[Here, There])
        {
            GoTo(m, place);
            Assert.Equal(place + 8, m.RunToFault(0).Rip);
        }
    }

    /// <summary>An instruction that the monitor emulates reads memory relative to RIP.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void AnEmulatedInstructionSeesItsPlace(string options)
    {
        using SnippetMachine m = Create(options);
        m.Write(Here, c =>
        {
            Label limit = c.CreateLabel();
            c.mov(eax, UserData32);
            c.verr(__word_ptr[limit]);
            c.setz(bl);
            c.@int(EndVector);
            c.nop();
            c.Label(ref limit);
            c.dw(UserData32);
        }, physical: SnippetMachine.Code);
        foreach (ulong place in (ReadOnlySpan<ulong>)[Here, There])
        {
            GoTo(m, place);
            m.Rbx = 0;
            m.RunToEnd();
            Assert.Equal(1ul, m.Rbx);
        }
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void CodeThatChangesChangesInAllPlaces(string options)
    {
        using SnippetMachine m = Create(options);
        m.Write(Here, c =>
        {
            c.mov(eax, 1);
            c.@int(EndVector);
        }, physical: SnippetMachine.Code);
        foreach (ulong place in (ReadOnlySpan<ulong>)[Here, There, Here, There])
        {
            GoTo(m, place);
            m.RunToEnd();
            Assert.Equal((ulong)m.Memory.Read<byte>(SnippetMachine.Code + 1), m.Rax);
            if (place == There)
            {
                m.Memory.Write(SnippetMachine.Code + 1, (byte)(m.Rax + 1));
            }
        }
    }

    /// <summary>Another page comes to where one was: its code runs, whatever was found by the old address.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void AnotherPageAtTheSamePlaceIsSeen(string options)
    {
        using SnippetMachine m = Create(options);
        foreach (ulong page in (ReadOnlySpan<ulong>)[0, 0x1000, 0])
        {
            m.Write(Here, c =>
            {
                c.mov(eax, (uint)page + 5);
                c.@int(EndVector);
            }, physical: SnippetMachine.Code + page);
            m.Pages.Map(Here, SnippetMachine.Code + page);
            GoTo(m, Here);
            m.Cpu.SetState(m.State);
            m.RunToEnd();
            Assert.Equal(page + 5, m.Rax);
        }
    }

    /// <summary>The same, page by page and while the code runs that goes there: each time by the same jump.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void ATargetInAnotherPageIsTheOneThatIsThere(string options)
    {
        foreach (bool jump in (ReadOnlySpan<bool>)[false, true])
        {
            GoWhereItIsMapped(options, jump, byPage: false);
            GoWhereItIsMapped(options, jump, byPage: true);
        }
    }

    private static void GoWhereItIsMapped(string options, bool jump, bool byPage)
    {
        const ulong first = SnippetMachine.Code + 0x1000, second = SnippetMachine.Code + 0x2000;
        using SnippetMachine m = Create(options);
        WriteTarget(m, first, 1, jump);
        WriteTarget(m, second, 0x100, jump);
        m.Write(Here, c =>
        {
            Label again = c.CreateLabel();
            c.mov(ecx, 80);
            c.Label(ref again);
            if (jump)
            {
                c.jmp(Here + 0x1000);
                c.nop();
            }
            else
            {
                c.call(Here + 0x1000);
            }

            c.@int(0x30);
            c.dec(ecx);
            c.jnz(again);
            c.@int(EndVector);
        }, physical: SnippetMachine.Code);
        m.SetRemapper(Here + 0x1000, first ^ second, byPage);
        m.Rbp = Here + 10;
        m.State.Rip = Here;
        m.RunToEnd();
        Assert.Equal(40u + (40 * 0x100), m.Rbx);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void ATargetInAnotherPageThatWasOverwrittenIsTheNewCode(string options)
    {
        using SnippetMachine m = Create(options);
        WriteTarget(m, SnippetMachine.Code + 0x1000, 1, jump: false);
        m.Write(Here, c =>
        {
            Label again = c.CreateLabel(), same = c.CreateLabel();
            c.mov(ecx, 64);
            c.Label(ref again);
            c.call(Here + 0x1000);
            c.test(ecx, 31);
            c.jnz(same);
            c.mov(__byte_ptr[rdi + 2], cl);
            c.Label(ref same);
            c.dec(ecx);
            c.jnz(again);
            c.@int(EndVector);
        }, physical: SnippetMachine.Code);
        m.Rdi = There + 0x1000;
        m.State.Rip = Here;
        m.RunToEnd();
        Assert.Equal(1u + (32 * 64) + (31 * 32), m.Rbx);
    }

    /// <summary>ADD EBX, imm32, and back: by a jump to RBP or by RET.</summary>
    private static void WriteTarget(SnippetMachine m, ulong physical, uint value, bool jump)
        => m.Memory.Write(physical, [0x81, 0xC3, .. BitConverter.GetBytes(value), .. (ReadOnlySpan<byte>)(jump ? [0xFF, 0xE5] : [0xC3])]);

    private static ulong FunctionOffset(SnippetMachine m)
    {
        for (ulong offset = 0; ; offset++)
        {
            // mov rsi, [rsp], which the function begins with.
            if (m.Memory.Read<uint>(SnippetMachine.Code + offset) == 0x2434_8B48)
            {
                return offset;
            }
        }
    }

    /// <summary>Back to ring 3, from the handler that the last run ended in.</summary>
    private static void GoTo(SnippetMachine m, ulong rip)
    {
        m.Load(1, UserCode64);
        m.Load(2, UserData32);
        m.State.Gpr[4] = UserStack;
        m.Restart(rip);
    }

    private static SnippetMachine Create(string options)
    {
        SnippetMachine m = Long(cpl: 3, options: EngineOptions.Parse(options));
        for (ulong page = 0; page < 0x3000; page += 0x1000)
        {
            m.Pages.Map(Here + page, SnippetMachine.Code + page);
            m.Pages.Map(There + page, SnippetMachine.Code + page);
        }

        return m;
    }

    /// <summary>It goes through its first round again where it comes to another page; where it is mapped is known still.</summary>
    [Fact]
    public void ALoopThatLeavesItsWindowStaysWhereItIs()
    {
        using SnippetMachine m = Create("floats-everywhere,loops-at-once");
        const ulong far = SnippetMachine.Code + 0x1100;
        m.State.Gpr[8] = 3;
        m.Write(far, c => c.ret());
        m.Write(c =>
        {
            var outer = c.CreateLabel();
            var again = c.CreateLabel();
            var here = c.CreateLabel();
            c.Label(ref outer);
            c.mov(rsi, Data);
            c.mov(ecx, 0x300);
            c.call(far);
            c.jmp(again);
            c.nop();
            c.Label(ref again);
            c.mov(__qword_ptr[rsi], rcx);
            c.add(rsi, 16);
            c.dec(ecx);
            c.jnz(again);
            c.dec(r8);
            c.jnz(outer);
            c.call(here);
            c.Label(ref here);
            c.pop(rax);
            c.@int(EndVector);
        });
        m.RunToEnd();
        Assert.InRange(m.Rax, SnippetMachine.Code, SnippetMachine.Code + 0x40);
        Assert.Equal(1ul, m.Memory.Read<ulong>(Data + 0x2FF0));
    }
}
