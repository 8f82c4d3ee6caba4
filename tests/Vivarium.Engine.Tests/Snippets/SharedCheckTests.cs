using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Accesses in a row through one register, which one check covers: also where they do not lie in one page that allows them all.</summary>
public sealed class SharedCheckTests
{
    public static TheoryData<string> Options => ["", "no-shared-checks"];

    [Theory]
    [MemberData(nameof(Options))]
    public void PushesAndPopsAcrossAPageArriveInOrder(string options)
    {
        using SnippetMachine m = Create(options);
        m.Pages.Map(Spare, Data + 0x1000);
        m.Pages.Map(Spare + 0x1000, Data);
        m.Rsp = Spare + 0x1018;
        (m.Rax, m.Rbx, m.Rcx, m.Rbp) = (1, 2, 3, 4);
        m.State.Gpr[12] = 5;
        m.Write(c =>
        {
            c.push(rax);
            c.push(rbx);
            c.mov(rdi, rcx);
            c.push(rcx);
            c.push(r12);
            c.sub(rsp, 0x10);
            c.push(rbp);
            c.push(-7);
            c.pop(r8);
            c.pop(r9);
            c.add(rsp, 0x10);
            c.pop(r13);
            c.pop(rdx);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((unchecked((ulong)-7), 4ul, 5ul, 3ul, 3ul), (m.State.Gpr[8], m.State.Gpr[9], m.State.Gpr[13], m.Rdx, m.Rdi));
        Assert.Equal(Spare + 0x1008, m.Rsp);
        Assert.Equal(1ul, m.Memory.Read<ulong>(Data + 0x10));
        Assert.Equal(3ul, m.Memory.Read<ulong>(Data));
        Assert.Equal(5ul, m.Memory.Read<ulong>(Data + 0x1FF8));
    }

    /// <summary>What comes before the page that is missing is done, and the fault is that of the access which needs it.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void APushThatFaultsComesAfterThoseThatDoNot(string options)
    {
        using SnippetMachine m = Create(options);
        m.Pages.Unmap(Spare);
        m.Pages.Map(Spare + 0x1000, Data);
        m.SetGate(14, Handlers + (14 * 16), ist: 1);
        m.Rsp = Spare + 0x1010;
        (m.Rax, m.Rbx, m.Rcx) = (1, 2, 3);
        ulong third = 0;
        m.Write(c =>
        {
            c.cmp(eax, 2);
            c.push(rax);
            c.push(rbx);
            c.push(rcx);
            c.hlt();
        });
        third = m.State.Rip + 7;
        Stop stop = m.RunToFault(14);
        Assert.Equal((third, Spare + 0x1000, 0x95ul), (stop.Rip, stop.Rsp, stop.Rflags & 0x8D5));
        Assert.Equal(2ul, m.Memory.Read<ulong>(Data));
        Assert.Equal(1ul, m.Memory.Read<ulong>(Data + 8));
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void AReadBeforeAWriteOfAReadOnlyPageIsDone(string options)
    {
        using SnippetMachine m = Create(options);
        m.Pages.Map(Spare, Data, PageTables.P);
        m.State.Cr0 |= 1 << 16;
        m.Memory.Write(Data + 8, 77ul);
        m.Rsi = Spare;
        m.Write(c =>
        {
            c.mov(rax, __qword_ptr[rsi + 8]);
            c.add(rax, __qword_ptr[rsi]);
            c.mov(__qword_ptr[rsi + 16], rax);
            c.mov(rax, 0);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(77ul, m.Rax);
        Assert.Equal(3u, stop.ErrorCode);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void FlagsOfARunReachWhatFollows(string options)
    {
        using SnippetMachine m = Create(options);
        m.Pages.Map(Spare, Data + 0x1000);
        m.Pages.Map(Spare + 0x1000, Data);
        m.Memory.Write(Data, 5u);
        m.Memory.Write(Data + 0x1FFC, 3u);

        // First in one page, then across two.
        m.Rsi = Spare + 0x1800;
        m.Rcx = 2;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.mov(eax, __dword_ptr[rsi]);
            c.cmp(eax, __dword_ptr[rsi - 4]);
            c.mov(rsi, Spare + 0x1000);
            c.setg(bl);
            c.loop(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(1u, m.Rbx & 0xFF);
    }

    /// <summary>A hot loop whose stack frame crosses a page, as any may: neither the run loop nor the monitor has to do with it.</summary>
    [Fact]
    public void ACrossingRunInALoopStaysInTranslatedCode()
    {
        long few = Entries(10);
        Assert.InRange(Entries(10_000), few, few + 200);

        static long Entries(uint rounds)
        {
            using SnippetMachine m = Create("no-loops");
            m.Pages.Map(Spare, Data + 0x1000);
            m.Pages.Map(Spare + 0x1000, Data);
            m.Rsp = Spare + 0x1010;
            m.Rcx = rounds;
            m.Write(c =>
            {
                var again = c.CreateLabel();
                var function = c.CreateLabel();
                c.Label(ref again);
                c.mov(eax, ecx);
                c.call(function);
                c.dec(ecx);
                c.jne(again);
                c.hlt();
                c.Label(ref function);
                c.push(rbp);
                c.push(rbx);
                c.push(r12);
                c.add(rdx, rax);
                c.mov(r12, rax);
                c.pop(r12);
                c.pop(rbx);
                c.pop(rbp);
                c.ret();
            });
            m.RunToEnd();
            Assert.Equal((ulong)rounds * (rounds + 1) / 2, m.Rdx);
            Assert.Equal(Spare + 0x1010, m.Rsp);
            return m.Cpu.Statistics.DispatcherEntries + m.Cpu.Statistics.Exits(ExitCause.TlbMiss);
        }
    }

    /// <summary>The page is not in the TLB when the run comes to it, and the flags before it are wanted behind it.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void ARunWhosePageIsNotKnownKeepsTheFlags(string options)
    {
        using SnippetMachine m = Create(options);
        m.Rsi = Data;
        m.Rdi = Data + 0x1000;
        (m.Rax, m.Rbx) = (3, 5);
        m.State.Gpr[13] = 7;
        m.State.Gpr[14] = 9;
        m.Write(c =>
        {
            // By a recipe of host registers, of one and of two in the state block, and saved.
            c.cmp(rax, rbx);
            c.mov(__qword_ptr[rsi], rax);
            c.mov(__qword_ptr[rsi + 8], rbx);
            c.setl(r8b);
            c.add(rdi, 0x1000);
            c.cmp(r13, 8);
            c.mov(__qword_ptr[rdi], rax);
            c.mov(__qword_ptr[rdi + 8], rbx);
            c.setl(r9b);
            c.mov(rdi, Data + 0x3000);
            c.cmp(r13, r14);
            c.mov(__qword_ptr[rdi], rax);
            c.mov(__qword_ptr[rdi + 8], rbx);
            c.setl(r10b);
            c.mov(rdi, Data + 0x4000);
            c.stc();
            c.mov(__qword_ptr[rdi], rax);
            c.mov(__qword_ptr[rdi + 8], rbx);
            c.setc(r11b);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((1ul, 1ul, 1ul, 1ul), (m.State.Gpr[8], m.State.Gpr[9], m.State.Gpr[10], m.State.Gpr[11]));
        Assert.Equal((7ul, 9ul), (m.State.Gpr[13], m.State.Gpr[14]));
        Assert.Equal(5ul, m.Memory.Read<ulong>(Data + 0x4008));
    }

    /// <summary>Through a register of the state block, with instructions in between that want and make flags; in one page, and across two.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void InstructionsBetweenAccessesWorkAsAlways(string options)
    {
        foreach (ulong offset in (ReadOnlySpan<ulong>)[0x800, 0xFF4, 0xFFC])
        {
            using SnippetMachine m = Create(options);
            m.Pages.Map(Spare, Data + 0x1000);
            m.Pages.Map(Spare + 0x1000, Data);
            m.State.Gpr[13] = Spare + offset;
            m.State.Gpr[14] = 40;
            m.Rsp = Spare + offset + 0x20;
            (m.Rax, m.Rbx, m.Rcx) = (5, 7, 9);
            m.Write(c =>
            {
                var function = c.CreateLabel();
                c.stc();
                c.mov(__dword_ptr[r13], eax);
                c.inc(ebx);
                c.setc(dl);
                c.mov(__dword_ptr[r13 + 8], ebx);
                c.adc(rcx, 0);
                c.cmp(rax, rbx);
                c.cmovb(r14d, ecx);
                c.lea(r15, __[r13 + rax * 2 + 1]);
                c.mov(__qword_ptr[r13 + 16], r14);
                c.add(rax, __qword_ptr[r13 + 16]);
                c.setz(dh);
                c.mov(__qword_ptr[rsp + 8], rax);
                c.lea(rdi, __[rsp + 4]);
                c.push(rbx);
                c.shl(rbx, 2);
                c.push(r13);
                c.mov(rbp, rsp);
                c.call(function);
                c.pop(rsi);
                c.hlt();
                c.Label(ref function);
                c.mov(r8, __qword_ptr[rsp]);
                c.mov(r9, __qword_ptr[rsp + 8]);
                c.ret();
            });
            m.RunToEnd();
            Assert.Equal((15ul, 32ul, 10ul, 1ul), (m.Rax, m.Rbx, m.Rcx, m.Rdx & 0xFFFF));
            Assert.Equal((10ul, Spare + offset + 11), (m.State.Gpr[14], m.State.Gpr[15]));
            Assert.Equal((Spare + offset + 0x24, Spare + offset + 0x10, Spare + offset + 0x18), (m.Rdi, m.Rbp, m.Rsp));
            Assert.Equal((Spare + offset, Spare + offset), (m.Rsi, m.State.Gpr[9]));
            Assert.InRange(m.State.Gpr[8], Code, Code + 0x100);
        }
    }

    /// <summary>The fault is the first access's, wherever in the run's range that is; it is tried once.</summary>
    [Theory]
    [InlineData("push", 0x100Ful, 2u)]
    [InlineData("read", 0x18ul, 0u)]
    [InlineData("misaligned", 0ul, 0u)]
    public void ARunWhosePageIsMissingFaultsAtItsFirstAccess(string kind, ulong offset, uint errorCode)
    {
        using SnippetMachine m = Create("");
        m.Pages.Unmap(Spare);
        m.Pages.Unmap(Spare + 0x1000);
        m.SetGate(14, Handlers + (14 * 16), ist: 1);
        m.SetGate(13, Handlers + (13 * 16), ist: 1);
        m.Rsp = Spare + 0x1017;
        m.Rsi = Spare;
        m.Rax = 3;
        m.Write(c =>
        {
            c.cmp(eax, 4);
            switch (kind)
            {
                case "push":
                    c.push(rax);
                    c.push(rbx);
                    break;
                case "read":
                    c.mov(rdx, __qword_ptr[rsi + 0x18]);
                    c.mov(__qword_ptr[rsi], rdx);
                    break;
                default:
                    c.movaps(xmm0, __xmmword_ptr[rsi + 0x18]);
                    c.movups(__xmmword_ptr[rsi + 0x30], xmm0);
                    break;
            }

            c.hlt();
        });
        ulong first = m.State.Rip + 5;
        Stop stop = m.RunToFault(kind == "misaligned" ? 13 : 14);
        Assert.Equal((first, errorCode, 0x95ul), (stop.Rip, stop.ErrorCode, stop.Rflags & 0x8D5));
        if (kind != "misaligned")
        {
            Assert.Equal(Spare + offset, m.State.Cr2);
            Assert.Equal(1, m.Cpu.Statistics.Exits(ExitCause.TlbMiss));
        }
    }

    /// <summary>Another fault comes before the first write: the page stays clean (SDM vol. 3A, 4.8). With nothing to complain of it becomes dirty.</summary>
    [Theory]
    [InlineData("store", 13)]
    [InlineData("load", 13)]
    [InlineData("second store", 13)]
    [InlineData("stack", 13)]
    [InlineData("multiply", 19)]
    [InlineData("x87", 16)]
    public void APageThatAFaultKeepsFromBeingWrittenStaysClean(string kind, int vector)
    {
        for (int pass = 0; pass < 2; pass++)
        {
            bool faults = pass == 0;
            using SnippetMachine m = Create("");
            m.Pages.Map(Spare, Data, PageTables.P | PageTables.Rw);
            m.SetGate(vector, Handlers + ((ulong)vector * 16), ist: 1);
            m.State.Cr0 |= 1 << 5; // NE
            m.Rsi = Spare + (faults && vector == 13 ? 8u : 0);
            m.Rsp = m.Rsi + 0x100;
            BitConverter.TryWriteBytes(m.State.Xsave, (ushort)(faults && kind == "x87" ? 0x37E : 0x37F)); // FCW: IM
            m.State.Xsave[4] = 0x80; // FTW: ST0 is there, R7
            BitConverter.TryWriteBytes(m.State.Xsave.AsSpan(2), (ushort)(faults && kind == "x87" ? 0xB881 : 0x3800)); // FSW: TOP 7; IE, ES, B
            BitConverter.TryWriteBytes(m.State.Xsave.AsSpan(24), faults && kind == "multiply" ? 0x1F00u : 0x1F80u); // MXCSR: IM
            m.State.Xsave[512] = 3; // XSTATE_BV: x87, SSE
            m.Memory.Write(Data + 0x20, faults ? 0x7FF0_0000_0000_0001 : 0); // a signalling one
            m.Write(c =>
            {
                switch (kind)
                {
                    case "store":
                        c.movaps(__xmmword_ptr[rsi], xmm0);
                        break;
                    case "load":
                        c.movaps(xmm1, __xmmword_ptr[rsi + 0x10]);
                        c.mov(__qword_ptr[rsi + 0x30], rax);
                        break;
                    case "second store":
                        c.mov(rax, __qword_ptr[rsi]);
                        c.movaps(__xmmword_ptr[rsi + 0x10], xmm0);
                        c.mov(__qword_ptr[rsi + 0x30], rax);
                        break;
                    case "stack":
                        c.movaps(xmm1, __xmmword_ptr[rsp - 0x10]);
                        c.push(rax);
                        c.mov(__qword_ptr[rsp - 0x18], rax);
                        break;
                    case "multiply":
                        c.mulsd(xmm0, __qword_ptr[rsi + 0x20]);
                        c.mov(__qword_ptr[rsi + 0x10], rax);
                        break;
                    default:
                        c.fstp(__qword_ptr[rsi + 0x10]);
                        break;
                }

                c.hlt();
            });
            if (faults)
            {
                m.RunToFault(vector);
            }
            else
            {
                m.RunToEnd();
            }

            Assert.Equal(faults ? 0 : PageTables.D, m.Pages[Spare] & PageTables.D);
        }
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void DevicesAreAccessedOneAfterAnother(string options)
    {
        using SnippetMachine m = Create(options);
        m.Pages.Map(Spare, MmioGpa);
        m.Rsi = Spare;
        m.Rcx = 5;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.mov(eax, __dword_ptr[rsi]);
            c.mov(__dword_ptr[rsi + 8], ecx);
            c.mov(ebx, __dword_ptr[rsi + 8]);
            c.loop(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(Enumerable.Repeat<(ulong, int)[]>([(MmioGpa, 4), (MmioGpa + 8, 4)], 5).SelectMany(read => read), m.Bus.MmioReads);
        Assert.Equal(Enumerable.Range(1, 5).Reverse().Select(value => (MmioGpa + 8, 4, (ulong)value)), m.Bus.MmioWrites);
        Assert.Equal(1ul, m.Rbx);
    }

    /// <summary>Writes of a wide run beside code, and the last of them into it.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void ARunThatWritesCodeChangesIt(string options)
    {
        using SnippetMachine m = Create(options);
        ulong function = Code + 0x800;
        m.Write(function, c =>
        {
            c.mov(eax, 0x11);
            c.ret();
        });
        m.Rsi = function - 120;
        m.Rcx = 3;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.mov(__qword_ptr[rsi], rcx);
            c.mov(__qword_ptr[rsi + 40], rcx);
            c.mov(__byte_ptr[rsi + 121], cl);
            c.call(function);
            c.add(rdx, rax);
            c.loop(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(6ul, m.Rdx);
    }

    private static SnippetMachine Create(string options) => Long(options: EngineOptions.Parse(options));
}
