using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Every reason to leave guest code is counted once, under its name.</summary>
public sealed class ExitCauseTests
{
    private const ulong LocalApicVersion = 0xFEE0_0030;

    [Fact]
    public void InstructionsAndAccessesAreCountedByWhatTheyAre()
    {
        using SnippetMachine m = Protected();
        m.Write(c =>
        {
            c.xor(eax, eax);
            c.cpuid();
            c.@out(0x80, al);
            c.@in(al, 0x80);
            c.mov(ecx, 0x10);
            c.rdmsr();
            c.mov(eax, __dword_ptr[MmioGpa]);
            c.mov(__dword_ptr[MmioGpa], eax);
            c.mov(eax, __dword_ptr[LocalApicVersion]);
            c.mov(eax, cr0);
            c.invlpg(__[Data]);
            c.sgdt(__[Data]);
            c.hlt();
        });
        m.RunToEnd();
        Expect(m, ExitCause.Cpuid, 1);
        Expect(m, ExitCause.PortIo, 2);
        Expect(m, ExitCause.Msr, 1);
        Expect(m, ExitCause.Mmio, 2);
        Expect(m, ExitCause.LocalApic, 1);
        Expect(m, ExitCause.ControlRegister, 1);
        Expect(m, ExitCause.TlbInvalidation, 1);
        Expect(m, ExitCause.Segment, 1);
        Expect(m, ExitCause.Halt, 1);
        Expect(m, ExitCause.SlowAccess, 0);
        Expect(m, ExitCause.Exception, 0);
    }

    [Fact]
    public void EachElementOfAStringThatGoesToAPortIsOne()
    {
        using SnippetMachine m = Protected();
        m.Rcx = 5;
        m.Rsi = Data;
        m.Rdx = 0x80;
        m.Write(c =>
        {
            c.rep.outsb();
            c.hlt();
        });
        m.RunToEnd();
        Expect(m, ExitCause.PortIo, 5);
        Expect(m, ExitCause.StringInstruction, 0);
    }

    [Fact]
    public void FaultsAndInterruptsAreCountedWhenTheyAreDelivered()
    {
        using SnippetMachine m = Long();
        m.Write(c => c.mov(rax, __[Spare]));
        _ = m.RunToFault(14);
        Expect(m, ExitCause.PageFault, 1);
        Expect(m, ExitCause.Exception, 0);

        m.Restart(Code);
        m.Write(c => c.ud2());
        _ = m.RunToFault(6);
        Expect(m, ExitCause.PageFault, 1);
        Expect(m, ExitCause.Exception, 1);

        m.Restart(Code);
        m.State.Rflags |= 1 << 9;
        m.Bus.Interrupts.Enqueue(0x40);
        m.Cpu.RequestInterrupt();
        _ = m.RunToFault(0x40);
        Expect(m, ExitCause.Interrupt, 1);
    }

    /// <summary>The pages do not follow each other in memory; where they do, they are as good as one.</summary>
    [Theory]
    [InlineData(0x3000, 1)]
    [InlineData(0x1000, 0)]
    public void AnAccessToTwoPagesIsSlowAndNothingElse(ulong second, int slow)
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data + second);
        m.Rsi = Spare + 0x1000;
        m.Write(c =>
        {
            c.mov(rax, __qword_ptr[rsi - 4]);
            c.mov(__qword_ptr[rsi - 4], rsi);
            c.hlt();
        });
        m.RunToEnd();
        Expect(m, ExitCause.SlowAccess, 2 * slow);
        Expect(m, ExitCause.Mmio, 0);
        Assert.Equal((uint)Spare + 0x1000, m.Memory.Read<uint>(Data + 0xFFC));
        Assert.Equal((uint)(Spare >> 32), m.Memory.Read<uint>(Data + second));
    }

    /// <summary>Pages that follow each other, and two that do not but are known: a thousand accesses across them, and who sees them.</summary>
    [Theory]
    [InlineData(0x1000, 1, 4)]
    [InlineData(0x3000, 2000, 2010)]
    public void AccessesAcrossKnownPagesThatFollowEachOtherNeedNoMonitor(ulong second, int least, int most)
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data + second);
        m.Rsi = Spare + 0x1000;
        m.Rcx = 1000;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.mov(__qword_ptr[rsi - 8], 0);
            c.mov(__qword_ptr[rsi], 0);
            c.Label(ref again);
            c.add(__qword_ptr[rsi - 3], rcx);
            c.add(rbx, __qword_ptr[rsi - 3]);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
        });
        m.RunToEnd();
        ulong sum = 0, all = 0;
        for (ulong i = 1000; i > 0; i--)
        {
            sum += i;
            all += sum;
        }

        Assert.Equal(all, m.Rbx);
        Assert.Equal(sum, (m.Memory.Read<uint>(Data + 0xFFD) & 0xFF_FFFF) | ((ulong)m.Memory.Read<uint>(Data + second) << 24));
        if (TestOptions.Engine.Has(Optimizations.SecondLevelTlb | Optimizations.PageWalks))
        {
            Assert.InRange(m.Cpu.Statistics.Exits(ExitCause.TlbMiss), least, most);
        }
    }

    /// <summary>What the first-level TLB has forgotten, the paging structures say; nothing has to be noted in them any more.</summary>
    [Fact]
    public void RepeatedMovesFindTheirPagesAgainWithoutAnExit()
    {
        using SnippetMachine m = Long();
        m.Rsi = Data + 0xFF0;
        m.Rdi = Data + 0x2FF8;
        m.Rcx = 0x20;
        m.Write(c =>
        {
            c.mov(__byte_ptr[rsi], 0x5A);
            c.mov(__byte_ptr[rsi + 0x10], 0x5B);
            c.mov(__byte_ptr[rdi], 0);
            c.mov(__byte_ptr[rdi + 8], 0);
            c.mov(rax, cr3);
            c.mov(cr3, rax);
            c.stc();
            c.rep.movsb();
            c.setc(bl);
            c.hlt();
        });
        m.RunToEnd();
        if (TestOptions.Engine.Has(Optimizations.SecondLevelTlb | Optimizations.PageWalks | Optimizations.StringThunks))
        {
            Expect(m, ExitCause.StringInstruction, 0);
        }

        Assert.Equal((0x5A, 0x5B, 1ul), (m.Memory.Read<byte>(Data + 0x2FF8), m.Memory.Read<byte>(Data + 0x3008), m.Rbx & 0xFF));
        Assert.Equal((0ul, Data + 0x1010, Data + 0x3018), (m.Rcx, m.Rsi, m.Rdi));
    }

    /// <summary>The first page is written only if the second can be.</summary>
    [Fact]
    public void AWriteToTwoPagesThatFollowEachOtherFaultsForTheSecond()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data + 0x1000, PageTables.P);
        m.State.Cr0 |= Cr0Bits.Wp;
        m.Rsi = Spare + 0x1000;
        m.Write(c =>
        {
            c.mov(__byte_ptr[rsi - 1], 0x11);
            c.mov(rax, __qword_ptr[rsi]);
            c.mov(__dword_ptr[rsi - 1], 0x2222_2222);
            c.hlt();
        });
        Assert.Equal(3u, m.RunToFault(14).ErrorCode);
        Assert.Equal(Spare + 0x1000, m.State.Cr2);
        Assert.Equal(0x11, m.Memory.Read<byte>(Data + 0xFFF));
    }

    /// <summary>A write to two pages that follow each other, the second of which holds code that has run.</summary>
    [Fact]
    public void AWriteToTwoPagesChangesTheCodeInTheSecond()
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Data + 0x1000, 0xB0, 0x01, 0xC3);   // mov al, 1; ret
        m.Rsi = Data + 0x1000;
        m.Write(c =>
        {
            c.call(Data + 0x1000);
            c.mov(bl, al);
            c.mov(__dword_ptr[rsi - 2], 0x07B0_0000);    // mov al, 7
            c.call(Data + 0x1000);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((1ul, 7ul), (m.Rbx & 0xFF, m.Rax & 0xFF));
    }

    [Fact]
    public void AWriteToTranslatedCodeIsCounted()
    {
        using SnippetMachine m = Long();
        m.Write(c =>
        {
            c.mov(__byte_ptr[Code + 32], 0x90);
            c.jmp(Code + 32);
        });
        m.WriteBytes(Code + 32, 0x90, 0xF4);
        m.RunToEnd();
        m.Restart(Code);
        m.RunToEnd();
        Expect(m, ExitCause.SelfModifyingCode, 1);
    }

    [Fact]
    public void TheTimeIsReadWithoutAnExitWhereItMayBe()
    {
        const uint tscAux = 0xC000_0103;
        using SnippetMachine m = Long(cpl: 3);
        m.State.Msrs[tscAux] = 0x8000_0007;
        m.Write(c =>
        {
            c.stc();
            c.mov(rcx, -1L);
            c.rdtscp();
            c.mov(rsi, rax);
            c.mov(rdi, rdx);
            c.mov(rbx, rcx);
            c.sbb(rbp, rbp);
            c.rdtsc();
            c.@int(EndVector);
        });
        m.RunToEnd();
        ulong first = m.Rsi | (m.Rdi << 32), second = m.Rax | (m.Rdx << 32);
        Assert.True(first <= second && second <= m.Cpu.Tsc, $"{first} {second} {m.Cpu.Tsc}");
        Assert.Equal(0x8000_0007ul, m.Rbx);
        Assert.Equal(ulong.MaxValue, m.Rbp);
        Expect(m, ExitCause.Timestamp, 0);

        m.Restart(Code);
        m.Load(1, UserCode64);
        m.Load(2, UserData32);
        m.State.Cr4 |= Cr4Bits.Tsd;
        Assert.Equal(Code + 11, m.RunToFault(13).Rip);
        Expect(m, ExitCause.Timestamp, 1);
    }

    private static void Expect(SnippetMachine m, ExitCause cause, long count) =>
        Assert.True(m.Cpu.Statistics.Exits(cause) == count, $"{cause}: {m.Cpu.Statistics.Exits(cause)} instead of {count}");
}
