using Iced.Intel;
using Vivarium.Engine.Software;
using Vivarium.Memory;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Accesses through the stack pointer, which look first at the page that it was in last: whatever changes that page in between.</summary>
public sealed class StackPageTests
{
    private const ulong Window = SnippetMachine.Code + 0x4000;
    private const ulong Old = Data;
    private const ulong New = Data + 0x1000;
    private const ulong Top = Spare + 0x800;

    /// <summary>RSP in a page that is <see cref="Old"/>; RBX = its entry, RDX = one for <see cref="New"/>.</summary>
    private static SnippetMachine Remapping()
    {
        SnippetMachine m = Long();
        m.Pages.Map(Spare, Old, P | Rw);
        (m.Rsp, m.Rax, m.Rsi, m.Rbx, m.Rdx) = (Top, 0x11, Spare, m.Pages.Entry(Spare, 12), New | P | Rw);
        return m;
    }

    [Theory]
    [InlineData("invlpg")]
    [InlineData("cr3")]
    [InlineData("cr4")]
    public void ANewMappingIsSeenAfterItsInvalidation(string how)
    {
        using SnippetMachine m = Remapping();
        m.Memory.Write(New + 0x7F8, 0x22ul);
        m.Write(c =>
        {
            c.push(rax);
            c.pop(rcx);
            c.mov(__qword_ptr[rbx], rdx);
            switch (how)
            {
                case "invlpg":
                    c.invlpg(__byte_ptr[rsi]);
                    break;
                case "cr3":
                    c.mov(rdi, cr3);
                    c.mov(cr3, rdi);
                    break;
                default:
                    c.mov(rdi, cr4);
                    c.btc(rdi, 7);
                    c.mov(cr4, rdi);
                    break;
            }

            c.mov(rbp, __qword_ptr[rsp - 8]);
            c.push(0x33);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((0x11ul, 0x22ul), (m.Rcx, m.Rbp));
        Assert.Equal((0x11ul, 0x33ul), (m.Memory.Read<ulong>(Old + 0x7F8), m.Memory.Read<ulong>(New + 0x7F8)));
    }

    /// <summary>Around the end of a page, where an access of each size just fits, or does not.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(8)]
    [InlineData(31)]
    [InlineData(32)]
    [InlineData(33)]
    [InlineData(128)]
    [InlineData(129)]
    public void AccessesUpToAndAcrossTheEndOfThePageGoWhereTheyShould(int before)
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, New);
        m.Pages.Map(Spare + 0x1000, Old);
        m.Rsp = Spare + 0x1000 - (ulong)before;
        (m.Rax, m.Rbx, m.Rdi) = (0x1122_3344_5566_7788, 0x99AA_BBCC_DDEE_FF5A, Spare);
        m.SetXmm(1, new UInt128(3, 4));
        m.Write(c =>
        {
            c.mov(__qword_ptr[rsp - 0x200], rax);
            c.mov(rcx, __qword_ptr[rsp - 0x200]);
            c.mov(__byte_ptr[rsp], bl);
            c.inc(esi);
            c.mov(__word_ptr[rsp + 3], bx);
            c.adc(rsi, 0);
            c.mov(__dword_ptr[rsp + 8], eax);
            c.adc(rsi, 0);
            c.mov(__qword_ptr[rsp + 16], rax);
            c.cpuid();
            c.movups(__xmmword_ptr[rsp + 32], xmm1);
            c.cpuid();
            c.push(-2);
            c.cpuid();
            c.pop(r8);
            c.movups(xmm2, __xmmword_ptr[rsp + 32]);
            c.mov(r9, __qword_ptr[rsp + 16]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((unchecked((ulong)-2), 0x1122_3344_5566_7788ul), (m.State.Gpr[8], m.State.Gpr[9]));
        Assert.Equal(new UInt128(3, 4), m.Xmm(2));
        byte[] expected = new byte[0x2000];
        int at = 0x1000 - before;
        BitConverter.TryWriteBytes(expected.AsSpan(at - 0x200), 0x1122_3344_5566_7788ul);
        BitConverter.TryWriteBytes(expected.AsSpan(at - 8), -2L);
        expected[at] = 0x5A;
        BitConverter.TryWriteBytes(expected.AsSpan(at + 3), (ushort)0xFF5A);
        BitConverter.TryWriteBytes(expected.AsSpan(at + 8), 0x5566_7788);
        BitConverter.TryWriteBytes(expected.AsSpan(at + 16), 0x1122_3344_5566_7788ul);
        BitConverter.TryWriteBytes(expected.AsSpan(at + 32), 4ul);
        BitConverter.TryWriteBytes(expected.AsSpan(at + 40), 3ul);
        byte[] pages = new byte[0x2000];
        m.Memory.Read(New, pages.AsSpan(0, 0x1000));
        m.Memory.Read(Old, pages.AsSpan(0x1000));
        Assert.Equal(expected, pages);
    }

    /// <summary>A page that was only read may be another's to write.</summary>
    [Fact]
    public void AReadDoesNotOpenAReadOnlyPageForWrites()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Old, P);
        m.State.Cr0 |= 1 << 16;
        m.Rsp = Top;
        m.SetGate(14, Handlers + (14 * 16), ist: 1);
        m.Write(c =>
        {
            c.mov(rax, __qword_ptr[rsp]);
            c.mov(rcx, __qword_ptr[rsp + 0x40]);
            c.push(rax);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal((3ul, Top), ((ulong)stop.ErrorCode, stop.Rsp));
    }

    /// <summary>The kernel's page is none of the user's, although both went there by the stack pointer.</summary>
    [Fact]
    public void TheUserCannotGoByTheSupervisorsPage()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Old, P | Rw);
        m.SetGate(14, Handlers + (14 * 16), ist: 1);
        m.Rsp = Top;
        m.Write(c =>
        {
            c.push(rax);
            c.pop(rax);
            c.push(UserData32);
            c.push(unchecked((int)Top));
            c.push(2);
            c.push(UserCode64);
            c.push(unchecked((int)UserCodeAt));
            c.iretq();
        });
        m.Pages.Map(UserCodeAt, UserCodeAt, P | Rw | Us);
        m.Write(UserCodeAt, c => c.push(rax), physical: UserCodeAt);
        Stop stop = m.RunToFault(14);
        Assert.Equal((UserCodeAt, 7ul), (stop.Rip, (ulong)stop.ErrorCode));
    }

    private const ulong UserCodeAt = FirstUserPage;

    /// <summary>With and without a page that may be read only.</summary>
    [Theory]
    [InlineData(0x8000_0000_0000_0008, "push")]
    [InlineData(0x8000_0000_0000_0008, "run")]
    [InlineData(0x8000_0000_0000_0000, "pop")]
    [InlineData(0x8000_0000_0000_0000, "ret")]
    [InlineData(0x8000_0000_0000_0010, "movaps")]
    [InlineData(0x7FFF_FFFF_FFFF_FF00, "far")]
    [InlineData(0x8000_0000_0000_0018, "read-only")]
    public void AStackPointerThatIsNotCanonicalIsAStackFault(ulong stack, string how)
    {
        using SnippetMachine m = Long();
        m.SetGate(12, Handlers + (12 * 16), ist: 1);
        m.SetGate(13, Handlers + (13 * 16), ist: 1);
        m.Pages.Map(Spare, Old, P);
        m.Rsp = Top;
        m.Write(c =>
        {
            if (how == "read-only")
            {
                c.mov(rdx, __qword_ptr[rsp]);
            }

            c.cpuid();
            c.mov(rsp, stack);
            c.cmp(ebp, 1);
            switch (how)
            {
                case "push" or "read-only":
                    c.push(rsi);
                    break;
                case "run":
                    c.push(rsi);
                    c.push(rdi);
                    break;
                case "pop":
                    c.pop(rsi);
                    break;
                case "ret":
                    c.ret();
                    break;
                case "movaps":
                    c.movaps(__xmmword_ptr[rsp], xmm0);
                    break;
                default:
                    c.mov(__qword_ptr[rsp + 0x100], rsi);
                    break;
            }

            c.hlt();
        });
        Stop stop = m.RunToFault(12);
        Assert.Equal((0u, stack, 0x95ul), (stop.ErrorCode, stop.Rsp, stop.Rflags & 0x8D5));
    }

    /// <summary>Accesses of the stack with others in between, of which one check covers as many as it can: at all places in a page and across its end.</summary>
    [Theory]
    [InlineData(0x800)]
    [InlineData(0x1000)]
    [InlineData(0x1008)]
    [InlineData(0x1018)]
    [InlineData(0x1030)]
    [InlineData(0x1058)]
    [InlineData(0x1060)]
    [InlineData(0xFC8)]
    public void WhatComesBetweenAccessesOfTheStackChangesNothingOfThem(int at)
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, New);
        m.Pages.Map(Spare + 0x1000, Old);
        m.Rsp = Spare + (ulong)at;
        m.Rdi = Data + 0x4000;
        (m.Rax, m.Rbx, m.Rsi, m.Rbp) = (1, 2, 3, 4);
        m.State.Gpr[13] = 13;
        m.Write(c =>
        {
            Label no = c.CreateLabel();
            c.push(rax);
            c.mov(__qword_ptr[rdi], rbx);
            c.push(rbx);
            c.push(rsi);
            c.add(__qword_ptr[rdi], 5);
            c.sub(rsp, 0x20);
            c.mov(__qword_ptr[rsp + 8], r13);
            c.lea(rcx, __[rsp + 0x10]);
            c.mov(__qword_ptr[rcx], 77);
            c.imul(r8, __qword_ptr[rsp + 0x10], 2);
            c.cmp(r8d, 154);
            c.jne(no);
            c.mov(rdx, __qword_ptr[rdi]);
            c.add(rdx, __qword_ptr[rsp + 8]);
            c.xchg(__qword_ptr[rsp + 0x18], rdx);
            c.push(__qword_ptr[rdi]);
            c.pop(__qword_ptr[rdi + 8]);
            c.mov(__dword_ptr[rsp], 9);
            c.adc(__dword_ptr[rsp], 1);
            c.mov(r9d, __dword_ptr[rsp]);
            c.lea(rsp, __[rsp + 0x20]);
            c.pop(r10);
            c.mov(__qword_ptr[rdi + 16], r10);
            c.pop(r11);
            c.mov(r14, rsp);
            c.mov(rsp, rdi);
            c.mov(r12, __qword_ptr[rsp + 8]);
            c.mov(__qword_ptr[rsp + 24], r12);
            c.mov(rsp, r14);
            c.pop(rax);
            c.mov(rdx, __qword_ptr[rsp - 0x20]);
            c.hlt();
            c.Label(ref no);
            c.ud2();
        });
        m.RunToEnd();
        Assert.Equal((154ul, 10ul, 3ul, 2ul), (m.State.Gpr[8], m.State.Gpr[9], m.State.Gpr[10], m.State.Gpr[11]));
        Assert.Equal((1ul, 20ul, 7ul), (m.Rax, m.Rdx, m.State.Gpr[12]));
        Assert.Equal((7ul, 7ul, 3ul, 7ul), (m.Memory.Read<ulong>(m.Rdi), m.Memory.Read<ulong>(m.Rdi + 8), m.Memory.Read<ulong>(m.Rdi + 16), m.Memory.Read<ulong>(m.Rdi + 24)));
    }

    /// <summary>A fault between two accesses that one check covers comes between them.</summary>
    [Fact]
    public void AFaultBetweenTwoAccessesOfTheStackComesBetweenThem()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Old);
        m.SetGate(14, Handlers + (14 * 16), ist: 1);
        (m.Rsp, m.Rax, m.Rdi) = (Top, 1, 0x4000_0000_0000);
        m.Write(c =>
        {
            c.push(rax);
            c.push(rax);
            c.cmp(eax, 2);
            c.mov(rcx, __qword_ptr[rdi]);
            c.push(rax);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal((Top - 16, 0x95ul), (stop.Rsp, stop.Rflags & 0x8D5));
        Assert.Equal((1ul, 0ul), (m.Memory.Read<ulong>(Old + 0x7F0), m.Memory.Read<ulong>(Old + 0x7E8)));
    }

    /// <summary>A page is dirty only once it was written: not because a later instruction would have.</summary>
    [Fact]
    public void AWriteOfTheStackThatDoesNotComeLeavesThePageClean()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Old);
        m.Rsp = Top;
        m.Write(c =>
        {
            Label end = c.CreateLabel();
            c.pop(rax);
            c.mov(rcx, __qword_ptr[rsp]);
            c.test(rax, rax);
            c.je(end);
            c.push(rdx);
            c.Label(ref end);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(A, m.Memory.Read<ulong>(m.Pages.Entry(Spare, 12)) & (A | D));
    }

    /// <summary>What is known of the stack moves with the stack pointer: what is not covered is in the next page.</summary>
    [Fact]
    public void WhatIsKnownOfTheStackIsOfItsBytesNotOfDisplacements()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, New);
        m.Pages.Map(Spare + 0x1000, Old);
        (m.Rsp, m.Rdi, m.Rax, m.Rbx) = (Spare + 0xF80, Data + 0x4000, 1, 2);
        m.Write(c =>
        {
            c.push(rax);
            c.mov(__qword_ptr[rdi], rbx);
            c.pop(rcx);
            c.mov(__qword_ptr[rdi + 8], rcx);
            c.add(rsp, 0x100);
            c.mov(__qword_ptr[rsp - 8], rbx);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((1ul, 2ul), (m.Memory.Read<ulong>(New + 0xF78), m.Memory.Read<ulong>(Old + 0x78)));
    }

    /// <summary>What was only read so far is not known to be writable.</summary>
    [Fact]
    public void AWriteAfterReadsWithOthersBetweenFaultsOnAReadOnlyPage()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Old, P);
        m.State.Cr0 |= 1 << 16;
        (m.Rsp, m.Rdi) = (Top, Data + 0x4000);
        m.SetGate(14, Handlers + (14 * 16), ist: 1);
        m.Write(c =>
        {
            c.mov(rax, __qword_ptr[rsp]);
            c.mov(rcx, __qword_ptr[rdi]);
            c.mov(rdx, __qword_ptr[rsp + 8]);
            c.mov(rcx, __qword_ptr[rdi]);
            c.mov(__qword_ptr[rsp + 8], rax);
            c.hlt();
        });
        ulong fault = m.State.Rip + 4 + 3 + 5 + 3;
        Stop stop = m.RunToFault(14);
        Assert.Equal((3u, fault), (stop.ErrorCode, stop.Rip));
        Assert.Equal(0ul, m.Memory.Read<ulong>(Old + 0x808));
    }

    /// <summary>A check that reaches further down than the first access tells of that access's fault.</summary>
    [Fact]
    public void TheFirstAccessOfTheStackFaultsAtItsOwnAddress()
    {
        using SnippetMachine m = Long();
        m.Pages.Unmap(Spare);
        (m.Rsp, m.Rdi) = (Top, Data + 0x4000);
        m.SetGate(14, Handlers + (14 * 16), ist: 1);
        m.Write(c =>
        {
            c.push(rax);
            c.mov(__qword_ptr[rdi], rbx);
            c.push(rbx);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal((2u, Top, Top - 8), (stop.ErrorCode, stop.Rsp, m.State.Cr2));
    }

    [Fact]
    public void ACodeThatAPushChangesIsNew()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Old, P | Rw);
        m.Rsp = Top;

        // mov eax, 1; ret, and the same with 2 to be pushed there.
        m.Memory.Write(Old + 0x700, [0xB8, 1, 0, 0, 0, 0xC3, 0x90, 0x90]);
        m.Rdx = 0x9090_C300_0000_02B8;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.mov(edi, 40);
            c.Label(ref again);
            c.push(rdi);
            c.call(Spare + 0x700);
            c.add(ebx, eax);
            c.pop(rdi);
            c.dec(edi);
            c.jne(again);
            c.lea(rsp, __[Spare + 0x708]);
            c.push(rdx);
            c.mov(rsp, Top);
            c.call(Spare + 0x700);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((40ul, 2ul), (m.Rbx, m.Rax));
    }

    [Fact]
    public void APushIsToldToTheDirtyLogEachTimeThatItBeginsAnew()
    {
        using SnippetMachine m = Long();
        MemoryRegion frame = m.Memory.Allocate(2 * GuestMemory.PageSize);
        m.Memory.Map(Window, frame, 0, frame.Length);
        List<string> seen = [];
        m.Bus.OnPortWrite = _ =>
        {
            bool[] dirty = new bool[2];
            m.Memory.TakeDirty(frame, 0, dirty);
            seen.Add(string.Concat(dirty.Select(page => page ? '*' : '.')));
        };
        m.Rsp = Window + 0x800;
        m.Write(c =>
        {
            for (int i = 0; i < 2; i++)
            {
                c.push(rax);
                c.push(rcx);
                c.@out(0x80, al);
                c.@out(0x80, al);
            }

            c.pop(rax);
            c.@out(0x80, al);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(["*.", "..", "*.", "..", ".."], seen);
    }
}
