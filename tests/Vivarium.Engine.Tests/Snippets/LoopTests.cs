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
        "add r12", "add64", "sub imm", "sub r", "sub r13", "neg", "dec", "shl", "shr64", "sar r13", "shl and on", "adc", "imul", "spoiled",
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
            case "shr64": c.shr(rbx, 3); c.not(rbx); break;
            case "sar r13": c.lea(r13, __[r13 + (rbx * 2)]); c.mov(r12, r13); c.sar(r12, 7); break;
            case "shl and on": c.shl(ebx, 1); c.mov(__qword_ptr[rsi - 8], rbx); c.lea(ebx, __[rbx + 3]); break;
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

    /// <summary>Bodies of loops whose accesses step through memory.</summary>
    public static TheoryData<string> Walks =>
    [
        "up", "down", "two places", "in between", "by register", "by register twice", "indexed", "indexed from the end", "scaled index only", "r12", "r12 indexed", "constant",
        "push", "pop", "push and read", "across pages", "wide", "wide misaligned", "read and written", "loaded pointer", "beside code", "over code", "lea", "32-bit step", "the same across pages", "the same constant across pages",
    ];

    /// <summary>Pages in a row for the guest, apart in memory: a page of before, or one beyond, shows in what is read and written.</summary>
    [Theory]
    [MemberData(nameof(Walks))]
    public void ALoopThatStepsThroughMemoryDoesWhatItsInstructionsDo(string walk)
    {
        Assert.Equal(Walking(walk, "no-loops"), Walking(walk, "loops-at-once"));
    }

    private static string Walking(string walk, string options)
    {
        const ulong pages = 12;
        using SnippetMachine m = Create(options);
        for (ulong page = 0; page < pages; page++)
        {
            m.Pages.Map(Spare + (page << 12), Data + ((page * 5 % pages) << 12));
            for (ulong at = 0; at < 4096; at += 8)
            {
                m.Memory.Write(Data + (page << 12) + at, ((page << 12) + at) * 0x9E37_79B9_7F4A_7C15);
            }
        }

        m.Rsi = Spare + 0x10;
        m.Rdi = Spare + 0xA_008;
        m.Rcx = 500;
        m.Rbx = 24;
        m.State.Gpr[12] = Spare + 0x2F00;
        m.State.Gpr[13] = 8;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            Label data = c.CreateLabel();
            c.mov(rbp, rsp);
            if (walk is "push" or "pop" or "push and read")
            {
                c.mov(rsp, Spare + 0x5000);
            }

            c.Label(ref again);
            Walk(c, walk, data);
            c.rol(rdx, 7);
            c.dec(ecx);
            c.jne(again);
            c.mov(rsp, rbp);
            c.hlt();
            while (c.Instructions.Count < 100)
            {
                c.nop();
            }

            c.Label(ref data);
            for (ulong i = 0; i < 16; i++)
            {
                c.dq(i);
            }
        });
        m.RunToEnd();
        byte[] content = new byte[pages << 12];
        m.Memory.Read(Data, content);
        return $"{Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(content))} {string.Join(' ', m.State.Gpr.Select(value => value.ToString("x")))}";
    }

    private static void Walk(Assembler c, string walk, Label data)
    {
        switch (walk)
        {
            case "up":
                c.add(rdx, __qword_ptr[rsi]);
                c.mov(__qword_ptr[rsi + 0x2000], rdx);
                c.add(rsi, 24);
                break;
            case "down":
                c.sub(rdi, 40);
                c.xor(rdx, __qword_ptr[rdi]);
                c.mov(__dword_ptr[rdi - 0x1000], edx);
                break;
            case "two places":
                c.mov(rax, __qword_ptr[rsi]);
                c.add(rdx, __qword_ptr[rdi]);
                c.mov(__qword_ptr[rsi + 8], rdx);
                c.mov(__qword_ptr[rdi - 8], rax);
                c.add(rsi, 16);
                c.sub(rdi, 32);
                break;
            case "in between":
                c.add(rdx, __qword_ptr[rsi]);
                c.add(rsi, 20);
                c.add(rdx, __qword_ptr[rsi]);
                c.mov(__qword_ptr[rsi + 0x3000], rdx);
                c.sub(rsi, 4);
                c.xor(edx, __dword_ptr[rsi + 4]);
                break;
            case "by register":
                c.add(rdx, __qword_ptr[rsi]);
                c.add(rsi, rbx);
                break;
            case "by register twice":
                c.add(rdx, __qword_ptr[rsi]);
                c.add(rsi, rbx);
                c.add(rdx, __qword_ptr[rsi]);
                c.add(rsi, r13);
                break;
            case "indexed":
                c.mov(rax, rcx);
                c.add(rdx, __qword_ptr[rsi + (rbx * 8)]);
                c.mov(__qword_ptr[rsi + (rbx * 8) + 0x1FF8], rdx);
                c.inc(rbx);
                break;
            case "indexed from the end":
                c.add(rdx, __qword_ptr[rdi + (rbx * 4)]);
                c.mov(__word_ptr[rdi + (rbx * 4) - 2], dx);
                c.sub(rbx, 3);
                c.add(rdi, 1);
                break;
            case "scaled index only":
                c.add(rdx, __qword_ptr[(rbx * 8) + (int)Spare]);
                c.lea(rbx, __[rbx + 2]);
                break;
            case "r12":
                c.add(rdx, __qword_ptr[r12]);
                c.mov(__qword_ptr[r12 + 0x100], rdx);
                c.add(r12, 16);
                break;
            case "r12 indexed":
                c.add(rdx, __qword_ptr[r12 + (r13 * 2)]);
                c.mov(__qword_ptr[r12 + (r13 * 2) + 0x77], rdx);
                c.inc(r13);
                break;
            case "constant":
                c.add(__qword_ptr[Spare + 0x1238], rcx);
                c.add(rdx, __qword_ptr[Spare + 0x1238]);
                c.add(rdx, __qword_ptr[Spare + 0xFFC]);
                c.add(__byte_ptr[Spare + 0x4FFF], dl);
                break;
            case "push":
                c.push(rdx);
                c.push(rcx);
                c.add(rdx, rcx);
                break;
            case "pop":
                c.pop(rax);
                c.add(rdx, rax);
                break;
            case "push and read":
                c.push(rdx);
                c.add(rdx, __qword_ptr[rsp + 0x20]);
                c.sub(rsp, 8);
                c.mov(__qword_ptr[rsp], rdx);
                c.pop(rax);
                c.add(rdx, rax);
                break;
            case "across pages":
                c.add(rdx, __qword_ptr[rsi + 0x1FEA]);
                c.add(__qword_ptr[rsi + 0x3FED], rdx);
                c.add(rsi, 1);
                break;
            case "wide":
                c.movdqa(xmm0, __xmmword_ptr[rsi]);
                c.paddq(xmm0, __xmmword_ptr[rsi + 0x1000]);
                c.movdqa(__xmmword_ptr[rsi + 0x2000], xmm0);
                c.movq(rax, xmm0);
                c.add(rdx, rax);
                c.add(rsi, 16);
                break;
            case "wide misaligned":
                c.movdqu(xmm0, __xmmword_ptr[rsi + 3]);
                c.movdqu(__xmmword_ptr[rsi + 0x2001], xmm0);
                c.movq(rax, xmm0);
                c.add(rdx, rax);
                c.add(rsi, 31);
                break;
            case "read and written":
                c.add(__qword_ptr[rsi], rdx);
                c.adc(rdx, __qword_ptr[rsi]);
                c.add(rsi, 12);
                break;
            case "loaded pointer":
                c.movzx(eax, __word_ptr[rsi]);
                c.and(eax, 0x7FF8);
                c.lea(rsi, __[rax + (int)Spare]);
                c.add(rdx, rsi);
                break;
            case "beside code":
                c.add(__qword_ptr[data], rcx);
                c.lea(rax, __[data]);
                c.add(rdx, __qword_ptr[rax + 64]);
                c.mov(__qword_ptr[rax + 72], rdx);
                break;
            case "over code":
                // Byte by byte down through data and up to the code before it.
                c.lea(rax, __[data]);
                c.mov(__byte_ptr[rax + rcx - 80], dl);
                c.add(rdx, rax);
                break;
            case "lea":
                c.lea(rsi, __[rsi + 0x38]);
                c.add(rdx, __qword_ptr[rsi - 0x38]);
                c.mov(__qword_ptr[rsi], rdx);
                break;
            case "the same across pages":
                c.add(rdx, __qword_ptr[rsi + 0xFEC]);
                break;
            case "the same constant across pages":
                c.add(rdx, __qword_ptr[Spare + 0x1FFC]);
                break;
            case "32-bit step":
                c.add(rdx, __qword_ptr[rsi]);
                c.add(esi, 64);
                break;
            default: throw new ArgumentException(walk);
        }
    }

    private static SnippetMachine Create(string options) => Long(options: EngineOptions.Parse(options));
}
