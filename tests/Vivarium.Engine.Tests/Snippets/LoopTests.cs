using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Loops translated as one block: faults in a later round find the flags, and every access finds its page.</summary>
public sealed class LoopTests
{
    /// <summary>What makes the flags with which the next access faults.</summary>
    public static TheoryData<string> Makers =>
    [
        "cmp r, r", "cmp r, imm", "cmp r8, imm", "cmp r8, r8", "cmp r12, r13", "cmp r, r12", "test r, r", "test r8, imm", "and", "or m", "xor zero", "add imm", "add r",
        "add r12", "add64", "sub imm", "sub r", "sub r13", "neg", "dec", "shl", "adc", "imul", "spoiled",
    ];

    [Theory]
    [MemberData(nameof(Makers))]
    public void AFaultInALaterRoundHasTheFlags(string maker)
    {
        Assert.Equal(Faulting(maker, "no-loops"), Faulting(maker, "loops-at-once"));
    }

    /// <summary>RIP, flags and registers of a loop that goes from page to page until one is missing.</summary>
    private static string Faulting(string maker, string options)
    {
        using SnippetMachine m = Create(options);
        for (ulong page = 0; page < 5; page++)
        {
            m.Pages.Map(Spare + (page << 12), Data);
        }

        m.Pages.Unmap(Spare + 0x5000);
        m.Rsi = Spare + 8;
        m.Rbx = 0x8000_0000_7FFF_FFF8;
        m.Rcx = 3;
        m.State.Gpr[12] = 0x7FFF_FFF0;
        m.State.Gpr[13] = 0xFFFF_FFFF_FFFF_FFFD;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            Label end = c.CreateLabel();
            c.Label(ref again);
            c.add(ebx, 3);
            Make(c, maker);
            c.mov(__qword_ptr[rsi], rdx);
            c.lea(rsi, __[rsi + 0x400]);
            c.setc(dl);
            c.movzx(edx, dl);
            c.add(r9, rdx);
            c.cmp(rsi, 0x6000_0000);
            c.ja(end);
            c.cmp(rsi, 0x7FFF_0000);
            c.jb(again);
            c.Label(ref end);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        return $"{stop} {string.Join(' ', m.State.Gpr.Select(value => value.ToString("x")))}";
    }

    private static void Make(Assembler c, string maker)
    {
        switch (maker)
        {
            case "cmp r, r": c.cmp(ebx, ecx); break;
            case "cmp r, imm": c.cmp(rbx, 0x7FFF_FFFE); break;
            case "cmp r8, imm": c.cmp(dil, 0x90); break;
            case "cmp r8, r8": c.cmp(bl, r13b); break;
            case "cmp r12, r13": c.cmp(r12, r13); break;
            case "cmp r, r12": c.cmp(ebx, r12d); break;
            case "test r, r": c.test(rbx, rcx); break;
            case "test r8, imm": c.test(bl, 0x81); break;
            case "and": c.and(ebx, 0x7FFF_FFFF); break;
            case "or m": c.or(rbx, __qword_ptr[rsi]); break;
            case "xor zero": c.xor(r8d, r8d); break;
            case "add imm": c.add(ebx, 0x10); break;
            case "add r": c.add(ebx, ecx); break;
            case "add r12": c.add(r12d, ecx); break;
            case "add64": c.add(rbx, r13); break;
            case "sub imm": c.sub(rbx, -5); break;
            case "sub r": c.sub(ecx, ebx); break;
            case "sub r13": c.sub(r13, rbx); break;
            case "neg": c.neg(ebx); break;
            case "dec": c.dec(ebx); break;
            case "shl": c.shl(ebx, 1); break;
            case "adc": c.adc(ebx, 1); break;
            case "imul": c.imul(ebx, ecx); break;
            case "spoiled":
                // What the flags were made from is gone when the access faults.
                c.cmp(ebx, ecx);
                c.mov(ebx, ecx);
                break;
            default: throw new ArgumentException(maker);
        }
    }

    [Theory]
    [InlineData("no-loops")]
    [InlineData("loops-at-once")]
    public void ADivideErrorInALaterRoundHasTheFlags(string options)
    {
        using SnippetMachine m = Create(options);
        m.Rcx = 5;
        m.Rbx = 0x7FFF_FFF0;
        m.State.Rflags |= 1 << 6;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            c.sub(ecx, 1);
            c.mov(__dword_ptr[Data], ecx);
            c.xor(edx, edx);
            c.mov(eax, 1);
            c.cmp(ebx, -0x10);
            c.mov(__dword_ptr[Data + 8], ecx);
            c.div(ecx);
            c.cmp(ecx, ebx);
            c.jb(again);
            c.hlt();
        });
        Stop stop = m.RunToFault(0);

        // Of CMP 7FFFFFF0h, FFFFFFF0h: CF, PF, SF and OF.
        Assert.Equal(0x885u, stop.Rflags & 0x8D5);
        Assert.Equal(0u, m.Rcx);
    }

    [Theory]
    [InlineData("no-loops")]
    [InlineData("loops-at-once")]
    public void AnAccessThatGoesFromPageToPageFindsEach(string options)
    {
        const uint words = 0x4000;
        using SnippetMachine m = Create(options);
        for (ulong page = 0; page < 8; page++)
        {
            // The pages the other way round, so that a stale one shows.
            m.Pages.Map(Spare + (page << 12), Data + ((7 - page) << 12));
        }

        m.Write(c =>
        {
            Label fill = c.CreateLabel();
            Label sum = c.CreateLabel();
            c.mov(rsi, Spare + 4);
            c.xor(eax, eax);
            c.Label(ref fill);
            c.mov(__word_ptr[rsi - 4], ax);
            c.add(rsi, 2);
            c.inc(eax);
            c.cmp(eax, words);
            c.jne(fill);
            c.xor(ecx, ecx);
            c.xor(ebx, ebx);
            c.mov(rsi, Spare);
            c.Label(ref sum);
            c.movzx(eax, __word_ptr[rsi + (rcx * 2)]);
            c.xor(eax, ecx);
            c.or(rbx, rax);
            c.push(rcx);
            c.pop(rcx);
            c.inc(ecx);
            c.cmp(ecx, words);
            c.jne(sum);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0u, m.Rbx);
        for (uint page = 0; page < 8; page++)
        {
            Assert.Equal((ushort)(page << 11), m.Memory.Read<ushort>(Data + ((7 - page) << 12)));
        }
    }

    [Theory]
    [InlineData("no-loops")]
    [InlineData("loops-at-once")]
    public void ALoopThatRewritesItselfRunsTheNewCode(string options)
    {
        using SnippetMachine m = Create(options);
        m.Rcx = 20;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            Label constant = c.CreateLabel();
            c.lea(rdi, __[constant]);
            c.Label(ref again);
            c.cmp(ecx, 10);
            c.jne(constant);
            c.mov(__dword_ptr[rdi + 1], 100);
            c.Label(ref constant);
            c.mov(eax, 1);
            c.add(rbx, rax);
            c.sub(ecx, 1);
            c.jnz(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(10u + (10u * 100), m.Rbx);
    }

    private static SnippetMachine Create(string options) => Long(options: EngineOptions.Parse(options));
}
