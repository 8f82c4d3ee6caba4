using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>
/// Jumps that find their target's translation in the jump cache or by its physical page: always the one that the page tables
/// and the bytes name now.
/// </summary>
public sealed class JumpThunkTests
{
    private const ulong Targets = 0x40_0000;

    public static TheoryData<string> Options => ["", "no-jumps-by-page", "no-jumps-by-page,no-linking,no-paired-returns"];

    /// <summary>More targets than the cache has entries, each reached again after all others, and again after all was flushed.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void ThousandsOfTargetsAreEachFound(string options)
    {
        const int count = 12_000;
        using SnippetMachine m = Create(options);
        m.Pages.MapLarge(Targets, Targets, 21);
        for (uint i = 0; i < count; i++)
        {
            // add ebx, i; jmp rbp
            m.WriteBytes(Targets + (i * 16), [0x81, 0xC3, .. BitConverter.GetBytes(i), 0xFF, 0xE5]);
        }

        m.Write(c =>
        {
            var round = c.CreateLabel();
            var next = c.CreateLabel();
            var back = c.CreateLabel();
            c.mov(ecx, 2);
            c.lea(rbp, __[back]);
            c.Label(ref round);
            c.mov(rsi, Targets);
            c.Label(ref next);
            c.jmp(rsi);
            c.Label(ref back);
            c.add(rsi, 16);
            c.cmp(rsi, (int)Targets + (count * 16));
            c.jb(next);
            c.mov(rax, cr3);
            c.mov(cr3, rax);
            c.dec(ecx);
            c.jnz(round);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(unchecked((uint)(2L * count * (count - 1) / 2)), m.Rbx);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void TheSameAddressIsTheOtherProgramAfterEachChangeOfTables(string options)
    {
        using SnippetMachine m = Create(options);
        m.Pages.Map(Spare, Data);
        WriteAdd(m, Data, 1);
        WriteAdd(m, Data + 0x1000, 0x100);
        ulong entry = m.Pages.Entry(Spare, 12);
        m.Rsi = entry;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.mov(ecx, 50);
            c.mov(rdi, Spare);
            c.Label(ref again);
            c.call(rdi);
            c.call(Spare);
            c.xor(__qword_ptr[rsi], 0x1000);
            c.mov(rax, cr3);
            c.mov(cr3, rax);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((25u * 2) + (25u * 2 * 0x100), m.Rbx);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void ATargetThatMayNotBeExecutedAnyMoreFaultsThere(string options)
    {
        using SnippetMachine m = Create(options);
        m.Pages.Map(Spare, Data);
        WriteAdd(m, Data, 1);
        m.Rsi = m.Pages.Entry(Spare, 12);
        m.Write(c =>
        {
            c.mov(rdi, Spare);
            c.call(rdi);
            c.call(rdi);
            c.bts(__qword_ptr[rsi], 63);
            c.invlpg(__byte_ptr[rdi]);
            c.call(rdi);
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(0x11u, stop.ErrorCode);
        Assert.Equal(Spare, stop.Rip);
        Assert.Equal(Spare, m.State.Cr2);
        Assert.Equal(2u, m.Rbx);
    }

    /// <summary>What is reached in the page, and what only reaches into it from the page before, is the new code; the rest stays.</summary>
    [Theory]
    [InlineData("", false)]
    [InlineData("no-flush-lists", false)]
    [InlineData("no-jumps-by-page", false)]
    [InlineData("", true)]
    [InlineData("no-flush-lists", true)]
    [InlineData("no-jumps-by-page", true)]
    public void InvlpgOfATargetsPageMakesTheNewCodeSeen(string options, bool fromThePageBefore)
    {
        const ulong first = Data, second = Data + 0x1000, third = Data + 0x2000, other = Data + 0x3000;
        using SnippetMachine m = Create(options);
        m.Pages.Map(Spare, first);
        m.Pages.Map(Spare + 0x1000, second);

        // add ebx, imm32 begins in the page, or three bytes before it; the constant is in it.
        ulong target = fromThePageBefore ? Spare + 0xFFE : Spare + 0x1000;
        if (fromThePageBefore)
        {
            m.WriteBytes(first + 0xFFE, 0x81, 0xC3);
            m.WriteBytes(second, 1, 0, 0, 0, 0xC3);
            m.WriteBytes(third, 0, 1, 0, 0, 0xC3);
        }
        else
        {
            WriteAdd(m, second, 1);
            WriteAdd(m, third, 0x100);
        }

        WriteAdd(m, other, 0x1_0000);
        m.Rsi = m.Pages.Entry(Spare + 0x1000, 12);
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.mov(ecx, 50);
            c.mov(rdi, target);
            c.mov(rbp, Spare + 0x1000);
            c.mov(rdx, other);
            c.Label(ref again);
            c.call(rdi);
            c.call(rdx);
            c.call(rdi);
            c.xor(__qword_ptr[rsi], (int)(second ^ third));
            c.invlpg(__byte_ptr[rbp]);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((25u * 2) + (25u * 2 * 0x100) + (50 * 0x1_0000u), m.Rbx);
    }

    /// <summary>Code of a segment with a base is known by its offset: its page's linear address is another.</summary>
    [Fact]
    public void InvlpgOfTheLinearPageMakesTheNewCodeOfASegmentSeen()
    {
        const ulong segment = 0x1_0000;
        using SnippetMachine m = Protected(paging: PagingMode.Bits32);
        m.State.Segments[1].Base = segment;
        m.State.Rip -= segment;
        m.Pages.Map(Spare, Data);
        WriteAdd(m, Data, 1);
        WriteAdd(m, Data + 0x1000, 0x100);
        m.Rsi = m.Pages.Entry(Spare, 12);
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.mov(ecx, 50);
            c.mov(edi, (uint)(Spare - segment));
            c.mov(ebp, (uint)Spare);
            c.Label(ref again);
            c.call(edi);
            c.call(edi);
            c.xor(__dword_ptr[esi], 0x1000);
            c.invlpg(__byte_ptr[ebp]);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((25u * 2) + (25u * 2 * 0x100), m.Rbx);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void ATargetThatWasOverwrittenIsTheNewCode(string options)
    {
        using SnippetMachine m = Create(options);
        WriteAdd(m, Data, 0);
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.mov(ecx, 60);
            c.mov(rdi, Data);
            c.Label(ref again);
            c.mov(__dword_ptr[rdi + 2], ecx);
            c.call(rdi);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(60u * 61 / 2, m.Rbx);
    }

    /// <summary>An empty entry of the jump cache must be no target's: neither address 0's nor address 1's.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void TheLowestAddressesAreTargetsLikeOthers(ulong target)
    {
        using SnippetMachine m = Create("");
        m.WriteBytes(target, 0xFF, 0xC3, 0xFF, 0xE5); // inc ebx; jmp rbp
        m.Rdi = target;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            var back = c.CreateLabel();
            c.mov(ecx, 50);
            c.lea(rbp, __[back]);
            c.Label(ref again);
            c.jmp(rdi);
            c.Label(ref back);
            c.test(cl, 7);
            var kept = c.CreateLabel();
            c.jnz(kept);
            c.mov(rax, cr3);
            c.mov(cr3, rax);
            c.Label(ref kept);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(50u, m.Rbx);
    }

    [Theory]
    [InlineData("jmp")]
    [InlineData("call")]
    [InlineData("call memory")]
    public void ATargetThatIsNotCanonicalFaultsAtTheJump(string form)
    {
        using SnippetMachine m = Create("");
        m.Rsi = Data;
        m.Rdi = 0x1234_0000_0000_0000;
        m.Memory.Write(Data, m.Rdi);
        m.Write(c =>
        {
            switch (form)
            {
                case "jmp":
                    c.jmp(rdi);
                    break;
                case "call":
                    c.call(rdi);
                    break;
                default:
                    c.call(__qword_ptr[rsi]);
                    break;
            }
        });
        Stop stop = m.RunToFault(13);
        Assert.Equal(Code, stop.Rip);
        Assert.Equal(Stack, stop.Rsp);
    }

    /// <summary>User and supervisor code at one address: the same bytes, but not the same translation.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void TheSameCodeRunsWithTheRightsOfWhoJumpedThere(string options)
    {
        using SnippetMachine m = Long(cpl: 3, options: EngineOptions.Parse(options));
        ulong secret = Gdt + 0x80;
        m.Rsi = secret;
        m.Write(c =>
        {
            c.mov(rdi, Code + 0x200);
            c.@int(0x30);
            c.call(rdi);
        });
        m.Write(Code + 0x200, c =>
        {
            c.mov(rax, __qword_ptr[rsi]);
            c.ret();
        });
        m.SetGate(0x30, Handlers + 0x308);
        m.Write(Handlers + 0x308, c =>
        {
            c.call(rdi);
            c.iretq();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(5u, stop.ErrorCode);
        Assert.Equal(Code + 0x200, stop.Rip);
        Assert.Equal(secret, m.State.Cr2);
    }

    /// <summary>ADD EBX, imm32; RET.</summary>
    private static void WriteAdd(SnippetMachine m, ulong at, uint value) => m.WriteBytes(at, [0x81, 0xC3, .. BitConverter.GetBytes(value), 0xC3]);

    private static SnippetMachine Create(string options) => Long(options: EngineOptions.Parse(options));
}
