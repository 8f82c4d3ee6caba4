using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Translations that go on behind conditional jumps: what leaves them on the way has everything as it should be there.</summary>
public sealed class LongBlockTests
{
    public static TheoryData<string> Options => ["", "no-long-blocks"];

    /// <summary>Each jump in turn is the one that is taken; the flags that it saw are there at its target.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void EveryWayOutHasItsFlagsAndRegisters(string options)
    {
        for (ulong way = 0; way < 4; way++)
        {
            using SnippetMachine m = Create(options);
            m.Rsi = Data;
            m.Rcx = way;
            m.Memory.Write(Data, 7ul);
            m.Write(c =>
            {
                Label first = c.CreateLabel(), second = c.CreateLabel(), third = c.CreateLabel();
                c.mov(rax, __qword_ptr[rsi]);
                c.cmp(rcx, 0);
                c.je(first);
                c.mov(__qword_ptr[rsi + 8], rax);
                c.cmp(ecx, 1);
                c.je(second);
                c.mov(rdx, __qword_ptr[rsi + 8]);
                c.ja(third);
                c.hlt();
                c.Label(ref first);
                c.pushfq();
                c.pop(r8);
                c.mov(r9d, 10);
                c.hlt();
                c.Label(ref second);
                c.pushfq();
                c.pop(r8);
                c.mov(r9d, 11);
                c.hlt();
                c.Label(ref third);
                c.pushfq();
                c.pop(r8);
                c.mov(r9d, 12);
                c.hlt();
            });
            m.RunToEnd();
            const ulong zeroAndParity = 0x44;
            (ulong mark, ulong flags) = way switch { 0 => (10ul, zeroAndParity), 1 => (11ul, zeroAndParity), 2 => (12ul, 0ul), _ => (12ul, 0ul) };
            Assert.Equal(mark, m.State.Gpr[9]);
            Assert.Equal(flags, m.State.Gpr[8] & 0x8D5);
            Assert.Equal(way == 0 ? 0ul : 7ul, m.Memory.Read<ulong>(Data + 8));
            Assert.Equal(way < 2 ? 0ul : 7ul, m.Rdx);
        }
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void AFaultBehindAJumpNamesItsInstruction(string options)
    {
        using SnippetMachine m = Create(options);
        m.Pages.Unmap(Spare);
        m.Rsi = Data;
        m.Rdi = Spare;
        m.Rcx = 5;
        ulong end = m.Write(c =>
        {
            Label elsewhere = c.CreateLabel();
            c.mov(rax, __qword_ptr[rsi]);
            c.cmp(ecx, 6);
            c.je(elsewhere);
            c.mov(__qword_ptr[rdi + 8], rcx);
            c.Label(ref elsewhere);
            c.hlt();
        });
        ulong faulting = end - 5;
        Stop stop = m.RunToFault(14);
        Assert.Equal((faulting, 0x95ul), (stop.Rip, stop.Rflags & 0x8D5));
    }

    /// <summary>What may be accessed changes behind a jump that is not taken; the way out before it leads to code that may not.</summary>
    [Theory]
    [InlineData("", 0)]
    [InlineData("", 1)]
    [InlineData("no-long-blocks", 0)]
    [InlineData("no-long-blocks", 1)]
    public void AccessSwitchesCountBehindAJumpOnly(string options, int taken)
    {
        using SnippetMachine m = Create(options);
        m.State.Cr4 |= Cr4Bits.Smap;
        m.Pages.Map(Spare, Data);
        m.Rsi = Spare;
        m.Rcx = (ulong)taken;
        ulong end = m.Write(c =>
        {
            Label elsewhere = c.CreateLabel();
            c.test(ecx, ecx);
            c.jnz(elsewhere);
            c.stac();
            c.inc(__dword_ptr[rsi]);
            c.clac();
            c.hlt();
            c.Label(ref elsewhere);
            c.inc(__dword_ptr[rsi]);
            c.hlt();
        });
        ulong faulting = end - 3;
        if (taken == 0)
        {
            m.RunToEnd();
            Assert.Equal(1u, m.Memory.Read<uint>(Data));
        }
        else
        {
            Assert.Equal(faulting, m.RunToFault(14).Rip);
            Assert.Equal(0u, m.Memory.Read<uint>(Data));
        }
    }

    [Fact]
    public void CodeBehindAJumpThatChangesIsTranslatedAgain()
    {
        using SnippetMachine m = Create("");
        m.Rcx = 1;
        ulong end = m.Write(c =>
        {
            Label elsewhere = c.CreateLabel();
            c.test(ecx, ecx);
            c.jz(elsewhere);
            c.mov(eax, 1);
            c.hlt();
            c.Label(ref elsewhere);
            c.hlt();
        });
        ulong changed = end - 6;
        ulong start = m.State.Rip;
        m.RunToEnd();
        m.Memory.Write(changed, 2u);
        m.Restart(start);
        m.RunToEnd();
        Assert.Equal(2ul, m.Rax);
    }

    private static SnippetMachine Create(string options) => Long(options: EngineOptions.Parse(options));
}
