using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Reads across two pages and of devices, done within the block: what they read, how often, and how they fault.</summary>
public sealed class BouncedReadTests
{
    public static TheoryData<string> Options => ["", "no-bounced-reads"];

    /// <summary>Reads of every width, with and without other work on the operand, by every kind of address.</summary>
    public static IEnumerable<TheoryDataRow<string, string>> Reads =>
        from read in (string[])["word", "movsx", "adc", "cmp", "imul", "push", "pop", "ret", "call", "movups", "fld", "fild", "bt", "index", "gs", "crc32", "movbe"]
        from options in (string[])["", "no-bounced-reads"]
        select new TheoryDataRow<string, string>(read, options);

    /// <summary>As if both pages were one: the same instruction on the same bytes in one page says what is right.</summary>
    [Theory]
    [MemberData(nameof(Reads))]
    public void AReadAcrossPagesReadsWhatStandsThere(string read, string options)
    {
        ulong[] across = Run(read, options, split: true, out UInt128 acrossXmm);
        ulong[] within = Run(read, options, split: false, out UInt128 withinXmm);
        Assert.Equal(within, across);
        Assert.Equal(withinXmm, acrossXmm);
    }

    private static ulong[] Run(string read, string options, bool split, out UInt128 xmm)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, split ? Data + 0x3000 : Data + 0x1000);
        m.Memory.Write(Data + 0xFF8, 0x8877_6655_4433_2211ul);
        m.Memory.Write(split ? Data + 0x3000 : Data + 0x1000, 0x00FF_EEDD_CCBB_AA99ul);
        if (read is "ret" or "call")
        {
            m.Memory.Write(Data + 0xFFD, (uint)(SnippetMachine.Code + 0x200) & 0xFF_FFFF);
            m.Memory.Write(split ? Data + 0x3000 : Data + 0x1000, 0ul);
        }

        m.WriteBytes(SnippetMachine.Code + 0x200, 0xF4);
        m.Rsi = Spare + 0xFFD;
        m.Rdi = 0xFFD;
        m.Rax = 0x1357_9BDF_0246_8ACE;
        m.State.Rflags = 2 | 0x8D5;
        m.State.Segments[5].Base = Spare;
        m.Write(c =>
        {
            c.mov(rbx, rsp);
            Read(c, read);
            c.mov(rsp, rbx);
            c.pushfq();
            c.pop(rcx);
            c.hlt();
        });
        m.RunToEnd();
        xmm = m.Xmm(1);
        m.State.Gpr[13] = (ulong)(uint)m.State.Xsave[2];
        m.Rsp = 0;
        return [.. m.State.Gpr];
    }

    private static void Read(Assembler c, string read)
    {
        switch (read)
        {
            case "word":
                c.mov(ax, __word_ptr[rsi + 2]);
                break;
            case "movsx":
                c.movsxd(rax, __dword_ptr[rsi]);
                break;
            case "adc":
                c.adc(rax, __qword_ptr[rsi]);
                break;
            case "cmp":
                c.cmp(__dword_ptr[rsi], 0x1234);
                break;
            case "imul":
                c.imul(rax, __qword_ptr[rsi], 7);
                break;
            case "push":
                c.push(__qword_ptr[rsi]);
                c.pop(rdx);
                break;
            case "pop":
                c.mov(rsp, rsi);
                c.pop(r8);
                break;
            case "ret":
                c.mov(rsp, rsi);
                c.ret();
                break;
            case "call":
                c.call(__qword_ptr[rsi]);
                break;
            case "movups":
                c.movups(xmm1, __xmmword_ptr[rsi - 8]);
                break;
            case "fld":
                c.fld(__qword_ptr[rsi]);
                c.fstp(__qword_ptr[Data + 0x100]);
                c.mov(rdx, __qword_ptr[Data + 0x100]);
                break;
            case "fild":
                c.fild(__dword_ptr[rsi]);
                c.fistp(__dword_ptr[Data + 0x100]);
                c.mov(edx, __dword_ptr[Data + 0x100]);
                break;
            case "bt":
                c.mov(eax, 13);
                c.bt(__dword_ptr[rsi], eax);
                break;
            case "index":
                c.lea(r9, __[rsi - 0x80]);
                c.mov(rdx, __qword_ptr[r9 + (rdi * 8) - (0xFFD * 8) + 0x80]);
                break;
            case "gs":
                c.add(rdx, __qword_ptr.gs[rdi]);
                break;
            case "crc32":
                c.crc32(rdx, __qword_ptr[rsi]);
                break;
            default:
                c.movbe(rdx, __qword_ptr[rsi]);
                break;
        }
    }

    [Fact]
    public void TheyDoNotLeaveTheBlock()
    {
        Assert.True(Dispatches("") < 100, "each read left");
        Assert.True(Dispatches("no-bounced-reads") > 1000, "the option has no effect");

        static long Dispatches(string options)
        {
            using SnippetMachine m = Long(options: EngineOptions.Parse(options));
            m.Pages.Map(Spare, Data);
            m.Pages.Map(Spare + 0x1000, Data + 0x3000);
            m.Rsi = Spare + 0xFFD;
            m.Rcx = 1000;
            m.Write(c =>
            {
                var again = c.CreateLabel();
                c.Label(ref again);
                c.mov(rax, __qword_ptr[rsi]);
                c.dec(ecx);
                c.jnz(again);
                c.hlt();
            });
            m.RunToEnd();
            return m.Cpu.Statistics.DispatcherEntries;
        }
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void ADeviceIsReadOnceForEachInstructionAndItsAnswersAreNotKept(string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Pages.Map(Spare, MmioGpa);
        m.Rbx = Spare;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.mov(ecx, 20);
            c.Label(ref again);
            c.mov(__dword_ptr[rbx + 8], ecx);
            c.stc();
            c.adc(eax, __dword_ptr[rbx + 8]);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(Enumerable.Repeat((MmioGpa + 8, 4), 20), m.Bus.MmioReads);
        Assert.Equal((20u * 21 / 2) + 20, m.Rax);
    }

    /// <summary>Its operand is read only once although its other access is slow too.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void PushOfADevicesRegisterOntoTwoPagesReadsItOnce(string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data + 0x3000);
        m.Pages.Map(Spare + 0x2000, MmioGpa);
        m.Rbx = Spare + 0x2000;
        m.Rsp = Spare + 0x1004;
        m.Write(c =>
        {
            c.push(__qword_ptr[rbx + 8]);
            c.pop(rax);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal([(MmioGpa + 8, 8)], m.Bus.MmioReads);
        Assert.Equal(0x0F0E_0D0C_0B0A_0908u, m.Rax);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void AMissingSecondPageFaultsWithEverythingAsItWas(string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Pages.Map(Spare, Data);
        m.Rsi = Spare + 0xFFE;
        m.Rax = 0x77;
        m.State.Rflags = 2 | 0x8D5;
        m.Write(c =>
        {
            c.lea(rbx, __[rsi + 1]);
            c.adc(rax, __qword_ptr[rsi]);
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal((0u, SnippetMachine.Code + 4, Spare + 0x1000), (stop.ErrorCode, stop.Rip, m.State.Cr2));
        Assert.Equal(0x77u, m.Rax);
        Assert.Equal(0x8D7u, stop.Rflags & 0xFFFF);

        m.Pages.Map(Spare + 0x1000, Data + 0x3000, P | Us);
        m.Restart(stop.Rip);
        (m.Rsp, m.State.Rflags) = (stop.Rsp, 2);
        m.Write(m.WriteBytes(stop.Rip, 0x48, 0x03, 0x06), c => c.hlt());
        m.RunToEnd();
        Assert.Equal(0x77 + (m.Memory.Read<ushort>(Data + 0xFFE) | (m.Memory.Read<ulong>(Data + 0x3000) << 16)), m.Rax);
    }

    /// <summary>Over the end of the lower canonical half: #GP, or #SS by the stack pointer, whatever is mapped below.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AReadThatEndsAtNoCanonicalAddressFaults(bool stack)
    {
        const ulong last = 0x7FFF_FFFF_F000;
        using SnippetMachine m = Long();
        m.Pages.Map(last, Data);
        m.Rsi = last + 0xFFD;
        m.SetGate(12, Handlers + (12 * 16), ist: 1);
        m.Write(c =>
        {
            c.mov(al, __byte_ptr[rsi + 2]);
            if (stack)
            {
                c.mov(rsp, rsi);
                c.pop(rbx);
            }
            else
            {
                c.mov(rbx, __qword_ptr[rsi]);
            }
        });
        Assert.Equal(0u, m.RunToFault(stack ? 12 : 13).ErrorCode);
    }

    /// <summary>A data breakpoint on the first byte of the second page sees the read that reaches it.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void ABreakpointOnTheSecondPageIsMet(string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data + 0x3000);
        m.Rsi = Spare + 0xFFD;
        m.State.Dr[0] = Spare + 0x1000;
        m.State.Dr[7] = 0x0003_0402; // G0, R/W0 = reads and writes, LEN0 = 1
        m.Write(c =>
        {
            c.mov(ax, __word_ptr[rsi]);
            c.mov(eax, __dword_ptr[rsi]);
        });
        Stop stop = m.RunToFault(1);
        Assert.Equal(1u, m.State.Dr[6] & 0xF);
        Assert.Equal(SnippetMachine.Code + 5, stop.Rip);
    }
}
