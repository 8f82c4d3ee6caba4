using Iced.Intel;
using Vivarium.Engine.Tests.Snippets;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Smp.SmpMachine;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>
/// One vCPU changes page tables and tells the others, which invalidate and answer (SDM vol. 3A, 4.10.5). After the answer
/// nobody may use the old translation any more: neither for data, nor for code.
/// </summary>
[Collection(SmpCollection.Name)]
public sealed class ShootdownTests
{
    private const ulong Linear = 0x20_0000;
    private const ulong FirstFrame = Shared + 0x8000;
    private const ulong SecondFrame = FirstFrame + 0x2000;
    private const ulong Flag = Shared + 0x1000;
    private const ulong Answers = Shared + 0x1100;
    private const int Rounds = 4_000;
    private static readonly TimeSpan Enough = TimeSpan.FromMilliseconds(300);

    public static TheoryData<string, string> Cases()
    {
        var cases = new TheoryData<string, string>();
        foreach (string how in new[] { "invlpg", "mov cr3", "cr4.pge", "invpcid" })
        {
            cases.Add(how, "read");
        }

        foreach (string use in new[] { "write", "code", "locked", "stack", "string", "across pages" })
        {
            cases.Add("invlpg", use);
        }

        return cases;
    }

    /// <summary>The page moves between two frames; each frame's content says which it is, and which round it was mapped in.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void TheOldPageIsNotUsedAfterTheAnswer(string how, string use)
    {
        const int others = 2;
        using var m = new SmpMachine(1 + others);
        m.Pages.Map(Linear, FirstFrame, PageTables.P | PageTables.Rw);
        m.Pages.Map(Linear + 0x1000, FirstFrame + 0x1000, PageTables.P | PageTables.Rw);
        if (how == "cr4.pge")
        {
            m.Pages.Map(Linear, FirstFrame, PageTables.P | PageTables.Rw | PageTables.G);
            foreach (SmpCpu cpu in m.Cpus)
            {
                cpu.State.Cr4 |= 0x80;
            }
        }

        ulong entry = m.Pages.Entry(Linear, 12);
        foreach (ulong frame in new[] { FirstFrame, SecondFrame })
        {
            m.Base.WriteBytes(frame, 0xB8, 0, 0, 0, 0, 0xC3); // mov eax, imm32; ret
        }

        SmpCpu mapper = m.Cpus[0];
        mapper.Rbx = FirstFrame ^ SecondFrame;
        mapper.Write(c =>
        {
            Label end = c.CreateLabel();
            c.Repeat(Rounds, part =>
            {
                // The other frame gets this round's number, at several places, and its code too; then it is mapped.
                part.mov(rdi, __qword_ptr[entry]);
                part.xor(rdi, rbx);
                part.mov(rsi, rdi);
                part.and(rsi, 0xFF_F000);
                part.mov(__dword_ptr[rsi + 1], r8d);
                part.mov(__qword_ptr[rsi + 0x100], r8);
                part.mov(__qword_ptr[rsi + 0x1000], r8);
                part.mov(__qword_ptr[rsi + 0x200], 0);
                part.mov(__qword_ptr[rsi + 0xFF8], r8);
                part.mov(__qword_ptr[entry], rdi);
                part.xor(rdi, rbx);
                part.mov(rdx, rdi);
                part.and(rdx, 0xFF_F000);
                part.mov(__qword_ptr[Flag], r8);
                for (int i = 1; i <= others; i++)
                {
                    part.WaitFor(Answers + (ulong)(i * 0x80), end);
                }

                // All have answered: the frame taken away gets what nobody may read, run or write any more.
                part.mov(__dword_ptr[rdx + 1], -1);
                part.mov(__qword_ptr[rdx + 0x100], -1);
                part.mov(__qword_ptr[rdx + 0x200], -1);
                part.mov(__qword_ptr[rdx + 0xFF8], -1);
                for (int i = 0; i < 30; i++)
                {
                    part.pause();
                    part.cmp(__qword_ptr[rdx + 0x200], -1);
                    part.FailIfNotEqual();
                }
            });
            c.Label(ref end);
            c.End();
        });
        foreach (SmpCpu user in m.Cpus.Skip(1))
        {
            ulong answer = Answers + (ulong)(user.Index * 0x80);
            user.Write(c =>
            {
                Label again = c.CreateLabel();
                Label told = c.CreateLabel();
                Label end = c.CreateLabel();
                c.xor(r8d, r8d);
                c.Label(ref again);
                c.mov(rax, __qword_ptr[Flag]);
                c.cmp(rax, r8);
                c.je(told);
                c.mov(r8, rax);
                Invalidate(c, how);
                c.mov(__qword_ptr[answer], r8);
                c.Label(ref told);
                Use(c, use);
                c.cmp(__byte_ptr[StopFlag], 0);
                c.jne(end);
                c.cmp(r8, Rounds);
                c.jb(again);
                c.Label(ref end);
                c.End();
            });
        }

        m.Run(Enough, enough: () => m.Memory.Read<ulong>(Flag) > 3);
    }

    /// <summary>Uses the page. What was answered for in R8 or a later round is right; an older one is not, nor is a frame that was taken away.</summary>
    private static void Use(Assembler c, string use)
    {
        switch (use)
        {
            case "read":
                c.mov(rax, __qword_ptr[Linear + 0x100]);
                break;
            case "code":
                c.call(Linear);
                break;
            case "locked":
                c.xor(eax, eax);
                c.mov(rdi, Linear + 0x100);
                c.@lock.xadd(__qword_ptr[rdi], rax);
                break;
            case "stack":
                c.mov(rdx, rsp);
                c.mov(rsp, Linear + 0x100);
                c.pop(rax);
                c.mov(rsp, rdx);
                break;
            case "string":
                c.mov(rsi, Linear + 0x100);
                c.lodsq();
                break;
            case "write":
                c.inc(__byte_ptr[Linear + 0x200]);
                c.mov(__byte_ptr[Linear + 0x207], 1);
                c.mov(rax, __qword_ptr[Linear + 0x100]);
                break;
            default:
                // The lower half is in the page that moves.
                c.mov(rax, __qword_ptr[Linear + 0xFFC]);
                c.mov(rax, __qword_ptr[Linear + 0xFF8]);
                break;
        }

        // Of the frames' number -1, and of numbers older than what this vCPU has confirmed, none may be seen.
        Label good = c.CreateLabel();
        c.movsxd(rax, eax);
        c.cmp(rax, r8);
        c.jge(good);
        c.ud2();
        c.Label(ref good);
    }

    private static void Invalidate(Assembler c, string how)
    {
        switch (how)
        {
            case "invlpg":
                c.invlpg(__byte_ptr[Linear]);
                break;
            case "mov cr3":
                c.mov(rdx, cr3);
                c.mov(cr3, rdx);
                break;
            case "cr4.pge":
                c.mov(rdx, cr4);
                c.btc(rdx, 7);
                c.mov(cr4, rdx);
                c.btc(rdx, 7);
                c.mov(cr4, rdx);
                break;
            default:
                // All contexts, global pages too (type 2).
                c.mov(edx, 2);
                c.mov(rcx, Shared + 0x3000);
                c.invpcid(rdx, __xmmword_ptr[rcx]);
                break;
        }
    }

    /// <summary>A page's entry is cleared and given to another page's data at once after the answer: nobody writes to it by the old address.</summary>
    [Fact]
    public void AWriteAfterTheAnswerFaults()
    {
        using var m = new SmpMachine(2);
        m.Pages.Map(Linear, FirstFrame, PageTables.P | PageTables.Rw);
        ulong entry = m.Pages.Entry(Linear, 12);
        SmpCpu writer = m.Cpus[1];
        ulong handler = writer.Code + 0x1000;
        m.Base.SetGate(14, handler);

        // #PF is right only while the page is away: the entry's P bit tells, or did when the fault was raised.
        m.Base.Write(handler, c =>
        {
            c.inc(r14d);
            c.add(rsp, 8);
            c.add(__qword_ptr[rsp], 3);
            c.iretq();
        });
        m.Cpus[0].Write(c =>
        {
            Label end = c.CreateLabel();
            c.Repeat(Rounds, part =>
            {
                part.@lock.btr(__qword_ptr[entry], 0);
                part.mov(__qword_ptr[Flag], r8);
                part.WaitFor(Answers, end);
                part.mov(rax, __qword_ptr[FirstFrame]);
                for (int i = 0; i < 40; i++)
                {
                    part.pause();
                    part.cmp(__qword_ptr[FirstFrame], rax);
                    part.FailIfNotEqual();
                }

                part.@lock.bts(__qword_ptr[entry], 0);
            });
            c.Label(ref end);
            c.End();
        });
        writer.Rdi = Linear;
        writer.Write(c =>
        {
            Label again = c.CreateLabel();
            Label told = c.CreateLabel();
            Label end = c.CreateLabel();
            c.xor(r8d, r8d);
            c.xor(r14d, r14d);
            c.Label(ref again);
            c.mov(rax, __qword_ptr[Flag]);
            c.cmp(rax, r8);
            c.je(told);
            c.mov(r8, rax);
            c.invlpg(__byte_ptr[rdi]);
            c.mov(__qword_ptr[Answers], r8);
            c.Label(ref told);
            c.db(0x48, 0xFF, 0x07); // inc qword [rdi]
            c.cmp(__byte_ptr[StopFlag], 0);
            c.jne(end);
            c.cmp(r8, Rounds);
            c.jb(again);
            c.Label(ref end);
            c.End();
        });
        m.Run(Enough);
    }
}
