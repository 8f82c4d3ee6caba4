using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>
/// SYSCALL, SYSRET, IRET, STAC and CLAC again and again, so that translated code does them itself: what they leave, and
/// what must still be noticed.
/// </summary>
public sealed class PrivilegeSwitchTests
{
    private const uint Star = 0xC000_0081, Lstar = 0xC000_0082, FlagMask = 0xC000_0084;
    private const ulong Cf = 1, Zf = 1 << 6, Tf = 1 << 8, If = 1 << 9, Nt = 1 << 14, Id = 1 << 21;
    private const ulong Arithmetic = 0x8D5;
    private const ulong Kernel = 0x1_8000;
    private const int Rounds = 20;

    /// <summary>STAR: CS of SYSCALL (SS is 8 above), and what SYSRET adds 16 to for its CS and 8 for its SS.</summary>
    private const ushort SyscallCode = Code64, SysretBase = UserData32 - 8;

    /// <summary>A program in ring 3, and its kernel at <see cref="Kernel"/>.</summary>
    private static SnippetMachine Machine(ulong mask = If | Tf)
    {
        SnippetMachine m = Long(3);
        m.State.Msrs[Star] = ((ulong)SysretBase << 48) | ((ulong)SyscallCode << 32);
        m.State.Msrs[Lstar] = Kernel;
        m.State.Msrs[FlagMask] = mask;
        m.Pages.Map(Kernel, Kernel, PageTables.P | PageTables.Rw);
        m.State.Rflags = If | Id | 2;
        m.Rbx = Rounds;
        return m;
    }

    [Theory]
    [InlineData(If)]
    [InlineData(If | Arithmetic)]
    public void SystemCallsKeepAndClearFlags(ulong mask)
    {
        using SnippetMachine m = Machine(mask);
        m.Write(c =>
        {
            var loop = c.CreateLabel();
            c.Label(ref loop);
            c.cmp(rbx, rbx);
            c.stc();
            c.syscall();
            c.setc(r8b);
            c.setz(r9b);
            c.dec(rbx);
            c.jnz(loop);
            c.@int(EndVector);
        });
        m.Write(Kernel, c =>
        {
            c.setc(r10b);
            c.mov(rdi, r11);
            c.mov(esi, ss);
            c.shl(rsi, 16);
            c.mov(si, cs);
            c.inc(rbp);
            c.sysretq();
        });
        m.RunToEnd();
        Assert.Equal((ulong)Rounds, m.Rbp);
        Assert.Equal(If | Id | Cf | Zf | 2, m.Rdi & (If | Id | Cf | Zf | Nt | 2));
        Assert.Equal((1, 1), ((byte)m.State.Gpr[8], (byte)m.State.Gpr[9]));
        Assert.Equal((mask & Cf) == 0 ? 1 : 0, (byte)m.State.Gpr[10]);
        Assert.Equal(((ulong)(SyscallCode + 8) << 16) | SyscallCode, m.Rsi);
    }

    [Fact]
    public void AnInterruptThatWaitsComesWhenSysretSetsIf()
    {
        using SnippetMachine m = Machine();
        m.Write(c =>
        {
            var loop = c.CreateLabel();
            c.Label(ref loop);
            c.syscall();
            c.dec(rbx);
            c.jnz(loop);
            c.@int(EndVector);
        });
        m.Write(Kernel, c =>
        {
            c.mov(eax, ebx);
            c.@out(0x80, al);
            c.nop();
            c.sysretq();
        });
        m.Bus.OnPortWrite = value =>
        {
            if ((byte)value == 5)
            {
                m.Bus.Interrupts.Enqueue(0x40);
                m.Cpu.RequestInterrupt();
            }
        };
        Stop stop = m.RunToFault(0x40);
        Assert.Equal(UserCode64, stop.Cs);
        Assert.Equal(5ul, m.Rbx);
        Assert.Equal(m.Rcx, stop.Rip);
    }

    [Fact]
    public void SysretWithTfTrapsAfterOneInstruction()
    {
        using SnippetMachine m = Machine();
        ulong loop = m.State.Rip;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.syscall();
            c.dec(rbx);
            c.jmp(again);
        });
        m.Write(Kernel, c =>
        {
            var plain = c.CreateLabel();
            c.cmp(rbx, 3);
            c.jne(plain);
            c.or(r11, (int)Tf);
            c.Label(ref plain);
            c.sysretq();
        });
        Stop stop = m.RunToFault(1);
        Assert.Equal(2ul, m.Rbx);
        Assert.Equal(loop + 5, stop.Rip);
        Assert.Equal(Tf, stop.Rflags & Tf);
    }

    [Fact]
    public void SysretToAnAddressThatIsNotCanonicalFaults()
    {
        using SnippetMachine m = Machine();
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.syscall();
            c.dec(rbx);
            c.jmp(again);
        });
        m.Write(Kernel, c =>
        {
            var plain = c.CreateLabel();
            c.cmp(rbx, 3);
            c.jne(plain);
            c.mov(rcx, 0x8000_0000_0000ul);
            c.Label(ref plain);
            c.sysretq();
        });
        m.RunToFault(13);
        Assert.Equal(3ul, m.Rbx);
    }

    /// <summary>INT 21H of ring 3, whose handler counts in RBP and runs <paramref name="before"/> ahead of its IRETQ.</summary>
    private static SnippetMachine Returning(Action<Iced.Intel.Assembler> before)
    {
        SnippetMachine m = Machine();
        m.SetGate(0x21, Kernel);
        m.Write(c =>
        {
            var loop = c.CreateLabel();
            c.Label(ref loop);
            c.cmp(rbx, rbx);
            c.stc();
            c.@int(0x21);
            c.setc(r8b);
            c.setz(r9b);
            c.dec(rbx);
            c.jnz(loop);
            c.@int(EndVector);
        });
        m.Write(Kernel, c =>
        {
            c.inc(rbp);
            before(c);
            c.iretq();
        });
        return m;
    }

    [Fact]
    public void InterruptReturnsBringBackFlagsAndStack()
    {
        using SnippetMachine m = Returning(c => c.mov(rdi, __qword_ptr[rsp + 16]));
        m.RunToEnd();
        Assert.Equal((ulong)Rounds, m.Rbp);
        Assert.Equal((1, 1), ((byte)m.State.Gpr[8], (byte)m.State.Gpr[9]));
        Assert.Equal(If | Id | Cf | Zf | 2, m.Rdi & (If | Id | Cf | Zf | Nt | 2));
    }

    [Fact]
    public void InterruptReturnsSeeADescriptorThatChangedMeanwhile()
    {
        using SnippetMachine m = Returning(c =>
        {
            var plain = c.CreateLabel();
            c.cmp(rbx, 3);
            c.jne(plain);
            c.mov(eax, (int)(Gdt + (UserCode64 & ~7u) + 5));
            c.and(__byte_ptr[rax], 0x7F);
            c.Label(ref plain);
        });
        Stop stop = m.RunToFault(11);
        Assert.Equal(UserCode64 & 0xFFFCu, stop.ErrorCode);
        Assert.Equal(3ul, m.Rbx);
    }

    [Fact]
    public void InterruptReturnsSeeAnotherDescriptorTable()
    {
        using SnippetMachine m = Returning(c =>
        {
            var plain = c.CreateLabel();
            c.cmp(rbx, 3);
            c.jne(plain);
            c.lgdt(__[(long)Data]);
            c.Label(ref plain);
        });

        // It ends before the user's code segment.
        m.Memory.Write(Data, (ushort)((UserCode64 & ~7) - 1));
        m.Memory.Write(Data + 2, Gdt);
        Stop stop = m.RunToFault(13);
        Assert.Equal(UserCode64 & 0xFFFCu, stop.ErrorCode);
        Assert.Equal(3ul, m.Rbx);
    }

    [Fact]
    public void InterruptReturnsMakeDataSegmentsOfRing0Null()
    {
        using SnippetMachine m = Returning(c =>
        {
            var plain = c.CreateLabel();
            c.cmp(rbx, 3);
            c.jne(plain);
            c.mov(eax, Data32);
            c.mov(ds, eax);
            c.Label(ref plain);
        });
        m.RunToEnd();
        Assert.Equal(0, m.State.Segments[3].Selector);
    }

    [Fact]
    public void ResumeFlagOfAnInterruptReturnIsForOneInstruction()
    {
        using SnippetMachine m = Returning(c => c.or(__dword_ptr[rsp + 16], 1 << 16));
        m.RunToEnd();
        Assert.Equal((ulong)Rounds, m.Rbp);
        Assert.Equal(0ul, m.State.Rflags & (1 << 16));
    }

    [Fact]
    public void AccessSwitchesCountWithinOneTranslation()
    {
        using SnippetMachine m = Long();
        m.State.Cr4 |= Cr4Bits.Smap;
        m.Pages.Map(Spare, Data);
        m.Rsi = Spare;
        m.Rbx = Rounds;
        ulong faulting = m.Write(c =>
        {
            var loop = c.CreateLabel();
            c.Label(ref loop);
            c.stac();
            c.inc(__dword_ptr[rsi]);
            c.stac();
            c.pushfq();
            c.pop(r8);
            c.clac();
            c.clac();
            c.pushfq();
            c.pop(r9);
            c.dec(rbx);
            c.jnz(loop);
        });
        m.Write(faulting, c => c.inc(__dword_ptr[rsi]));
        Stop stop = m.RunToFault(14);
        Assert.Equal(faulting, stop.Rip);
        Assert.Equal((uint)Rounds, m.Memory.Read<uint>(Data));
        Assert.Equal((1ul, 0ul), (m.State.Gpr[8] >> 18 & 1, m.State.Gpr[9] >> 18 & 1));
        Assert.Equal(0ul, stop.Rflags >> 18 & 1);
    }

    [Fact]
    public void AFaultBetweenStacAndClacIsDeliveredWithAc()
    {
        using SnippetMachine m = Long();
        m.State.Cr4 |= Cr4Bits.Smap;
        ulong faulting = m.Write(c => c.stac());
        m.Rsi = Spare;
        m.Write(faulting, c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.clac();
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(faulting, stop.Rip);
        Assert.Equal(1ul, stop.Rflags >> 18 & 1);
    }

    /// <summary>What IRETQ of ring 0 does to itself, again and again: the flags, the stack pointer and the segments of its frame.</summary>
    [Theory]
    [InlineData("")]
    [InlineData("no-inner-returns")]
    public void ReturnsWithinRing0LoadTheirFrame(string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Rbx = Rounds;
        m.Write(c =>
        {
            var loop = c.CreateLabel();
            var target = c.CreateLabel();
            c.Label(ref loop);
            c.mov(rbp, rsp);
            c.xor(eax, eax);
            c.mov(ax, ss);
            c.push(rax);
            c.lea(rax, __[rbp - 0x40]);
            c.push(rax);
            c.push((int)(If | Id | Cf | Zf | 2));
            c.xor(eax, eax);
            c.mov(ax, cs);
            c.push(rax);
            c.lea(rax, __[target]);
            c.push(rax);
            c.iretq();
            c.hlt();
            c.Label(ref target);
            c.pushfq();
            c.pop(rdi);
            c.lea(rsi, __[rsp + 0x40]);
            c.sub(rsi, rbp);
            c.mov(rsp, rbp);
            c.add(r8, rdi);
            c.add(r9, rsi);
            c.cli();
            c.dec(rbx);
            c.jnz(loop);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((If | Id | Cf | Zf | 2) * Rounds, m.State.Gpr[8]);
        Assert.Equal(0ul, m.State.Gpr[9]);
        Assert.Equal(Code64, m.State.Segments[1].Selector);
    }

    /// <summary>The code segment of ring 0 is made a data segment after some returns: the next is #GP with its selector.</summary>
    [Theory]
    [InlineData("")]
    [InlineData("no-inner-returns")]
    public void AReturnWithinRing0SeesTheDescriptorAsItIsNow(string options)
    {
        using SnippetMachine m = Long(options: EngineOptions.Parse(options));
        m.Rbx = Rounds;
        m.Rcx = 0x00CF_9300_0000_FFFF;
        m.Rdx = Gdt + Code64;
        m.Write(c =>
        {
            var loop = c.CreateLabel();
            var target = c.CreateLabel();
            c.Label(ref loop);
            c.mov(rbp, rsp);
            c.push(Data32);
            c.push(rbp);
            c.push(2);
            c.push(Code64);
            c.lea(rax, __[target]);
            c.push(rax);
            c.iretq();
            c.Label(ref target);
            c.dec(rbx);
            c.jnz(loop);
            c.mov(__qword_ptr[rdx], rcx);
            c.mov(bl, 1);
            c.jmp(loop);
        });
        m.SetGate(13, Handlers + (13 * 16), selector: Code64);
        m.Load(2, Data32);

        // The handler's segment must stay what it was.
        m.SetDescriptor(Free, 0x00AF_9B00_0000_FFFF);
        m.SetGate(13, Handlers + (13 * 16), selector: Free);
        Stop stop = m.RunToFault(13);
        Assert.Equal(Code64, stop.ErrorCode);
    }
}
