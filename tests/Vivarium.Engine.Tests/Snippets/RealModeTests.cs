using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>What BIOSes and boot loaders live on: interrupts, far transfers and strings in 16-bit code (SDM vol. 3A, chapter 20).</summary>
public sealed class RealModeTests
{
    [Fact]
    public void InterruptsReturnThroughTheVectorTable()
    {
        using SnippetMachine m = Real();
        m.Memory.Write(0x21ul * 4, (0x2000u << 16) | 0x10);
        m.Write(0x10, c =>
        {
            c.mov(dx, cs);
            c.inc(ax);
            c.iret();
        }, physical: 0x2_0010);
        m.Write(c =>
        {
            c.stc();
            c.@int(0x21);
            c.@int(0x21);
            c.setc(bl);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((2ul, 0x2000ul, 1ul, Stack), (m.Rax, m.Rdx, m.Rbx, m.Rsp));
    }

    [Fact]
    public void FarCallsJumpsAndReturns()
    {
        using SnippetMachine m = Real();
        m.Memory.Write(0x600ul, (0x2000u << 16) | 0x20);
        m.WriteBytes(0x2_0020, 0x40, 0xCB);                         // inc ax; retf
        m.WriteBytes(0x2_0030, 0x43, 0xEA, 0x40, 0, 0x00, 0x20);    // inc bx; jmp 2000:40
        m.WriteBytes(0x2_0040, 0xCA, 0x02, 0x00);                   // retf 2
        ulong at = m.Write(c =>
        {
            c.call(__dword_ptr[0x600]);
            c.push(ax);
        });
        m.WriteBytes(at, 0x9A, 0x30, 0, 0x00, 0x20, 0xF4);          // call 2000:30; hlt
        m.RunToEnd();
        Assert.Equal((1ul, 1ul, Stack), (m.Rax, m.Rbx, m.Rsp));
        Assert.Equal(0, m.State.Segments[1].Selector);
    }

    [Fact]
    public void RepeatedMovesWrapAt64K()
    {
        using SnippetMachine m = Real();
        m.State.Segments[3].Base = 0x3_0000;
        m.State.Segments[0].Base = 0x4_0000;
        for (ulong i = 0; i < 4; i++)
        {
            m.Memory.Write(0x3_FFFE + i, (byte)(0x10 + i));
            m.Memory.Write(0x3_0000 + i, (byte)(0x20 + i));
        }

        m.Rsi = 0xFFFE;
        m.Rdi = 0x7_FFFF;
        m.Rcx = 0x5_0004;
        m.Write(c =>
        {
            c.rep.movsb();
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal([0x10, 0x11, 0x20, 0x21], new[]
        {
            m.Memory.Read<byte>(0x4_FFFF), m.Memory.Read<byte>(0x4_0000), m.Memory.Read<byte>(0x4_0001), m.Memory.Read<byte>(0x4_0002),
        }.Select(b => (int)b));
        Assert.Equal((2ul, 0x7_0003ul, 0x5_0000ul), (m.Rsi, m.Rdi, m.Rcx));
    }

    [Fact]
    public void ARepeatedStoreStopsAtTheLimit()
    {
        using SnippetMachine m = Real();
        m.Rax = 0x4242;
        m.Rdi = 0xFFFB;
        m.Rcx = 8;
        m.State.Segments[0].Base = 0x3_0000;
        m.Write(c => c.rep.stosw());
        Stop stop = m.RunToFault(13);
        Assert.Equal((RealCode, 0xFFFFul, 6ul), (stop.Rip, m.Rdi, m.Rcx));
        Assert.Equal(0x4242, m.Memory.Read<ushort>(0x3_FFFD));
    }

    [Fact]
    public void CodePatchesItselfIn16BitCodeToo()
    {
        using SnippetMachine m = Real();
        // mov byte cs:[next+1], 42h; mov al, 0; hlt
        m.WriteBytes(RealCode, 0x2E, 0xC6, 0x06, 0x07, 0x7C, 0x42, 0xB0, 0x00, 0xF4);
        m.RunToEnd();
        Assert.Equal(0x42u, m.Rax);
    }

    [Fact]
    public void TheSameBytesInAnotherSegmentHaveAnotherIp()
    {
        using SnippetMachine m = Real();
        m.WriteBytes(0x2_0000, 0xE8, 0, 0, 0x58, 0xCB); // call +0; pop ax; retf
        ulong at = RealCode;
        at = m.WriteBytes(at, 0x9A, 0, 0, 0x00, 0x20, 0x50);            // call 2000:0; push ax
        at = m.WriteBytes(at, 0x9A, 0, 0x10, 0x00, 0x1F, 0x5B, 0xF4);   // call 1F00:1000; pop bx; hlt
        m.RunToEnd();
        Assert.Equal((0x1003ul, 3ul), (m.Rax, m.Rbx));
        Assert.NotEqual(0ul, at);
    }

    [Theory]
    [InlineData("load")]
    [InlineData("store")]
    [InlineData("push")]
    [InlineData("loop")]
    [InlineData("jump")]
    [InlineData("call")]
    [InlineData("override")]
    public void FlagsSurviveLimitChecks(string between)
    {
        using SnippetMachine m = Real();
        m.Rsi = 0x600;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.mov(ax, bx);
            c.and(ax, 0x8D5);
            c.push(ax);
            c.popf();
            switch (between)
            {
                case "load":
                    c.mov(cx, __word_ptr[si]);
                    break;
                case "store":
                    c.mov(__word_ptr[si], cx);
                    break;
                case "push":
                    c.push(cx);
                    c.pop(cx);
                    break;
                case "loop":
                    var spin = c.CreateLabel();
                    c.mov(cx, 3);
                    c.Label(ref spin);
                    c.loop(spin);
                    break;
                case "jump":
                    var over = c.CreateLabel();
                    c.jg(over);
                    c.nop();
                    c.Label(ref over);
                    break;
                case "call":
                    var callee = c.CreateLabel();
                    c.call(callee);
                    c.Label(ref callee);
                    c.pop(cx);
                    break;
                default:
                    c.mov(cl, __byte_ptr.fs[si + 5]);
                    break;
            }

            c.pushf();
            c.pop(ax);
            c.xor(ax, bx);
            c.and(ax, 0x8D5);
            c.or(dx, ax);
            c.inc(bx);
            c.cmp(bx, 0x900);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0u, m.Rdx);
    }

    [Fact]
    public void OperandSizePrefixedBranchesInProtectedMode()
    {
        using SnippetMachine m = Protected(bits: 16);
        // o32 call +2 (pushes four bytes); hlt; hlt; pop eax; o16 call; pop bx; hlt
        m.WriteBytes(Code, 0x66, 0xE8, 0x02, 0, 0, 0, 0xF4, 0xF4, 0x66, 0x58, 0xE8, 0, 0, 0x5B, 0xF4);
        m.RunToEnd();
        Assert.Equal((6ul, 13ul, Stack), (m.Rax, m.Rbx, m.Rsp));
    }

    /// <summary>Instructions that 64-bit mode lacks: SALC, LDS, LES, and ICEBP, which is a #DB without a cause in DR6.</summary>
    [Fact]
    public void InstructionsOfTheOldProcessors()
    {
        using SnippetMachine m = Real();
        m.Memory.Write(0x600ul, 0x3000_0010u);
        m.Memory.Write(0x604ul, 0x4000_0020u);
        m.Memory.Write(0x3_0010ul, (ushort)0x1234);
        m.State.Dr[6] = 0xFFFF_0FF0;
        ulong at = m.WriteBytes(RealCode,
            0xF9, 0xB8, 0x00, 0x55, 0xD6,       // stc; mov ax, 5500h; salc
            0xC4, 0x3E, 0x04, 0x06,             // les di, [604h]
            0xC5, 0x36, 0x00, 0x06,             // lds si, [600h]
            0x8B, 0x1C,                         // mov bx, [si]
            0x8C, 0xC1, 0x8C, 0xDA);            // mov cx, es; mov dx, ds
        m.WriteBytes(at, 0xF1);
        Stop stop = m.RunToFault(1);
        Assert.Equal(at + 1, stop.Rip);
        Assert.Equal(0u, m.State.Dr[6] & 0xE00F);
        Assert.Equal((0x55FFul, 0x1234ul, 0x4000ul, 0x3000ul), (m.Rax, m.Rbx, m.Rcx, m.Rdx));
        Assert.Equal((0x10ul, 0x20ul), (m.Rsi, m.Rdi));
    }

    [Fact]
    public void SingleStepsGoThroughTheVectorTable()
    {
        using SnippetMachine m = Real();
        m.Memory.Write(4ul, (0x2000u << 16) | 0x10);
        m.WriteBytes(0x2_0010, 0x47, 0xCF); // inc di; iret
        m.State.Rflags |= 1 << 8;
        m.WriteBytes(RealCode, 0x40, 0x8E, 0xD0, 0x40, 0x6A, 0x00, 0x9D, 0x40, 0xF4); // inc ax; mov ss, ax; inc ax; push 0; popf; inc ax; hlt
        m.State.Segments[2].Limit = 0xFFFF;
        m.RunToEnd();
        Assert.Equal(3u, m.Rax);

        // After each instruction, but after MOV SS, and once more after POPF, which had begun with TF.
        Assert.Equal(4u, m.Rdi);
    }

    [Fact]
    public void BreakpointsInRealModeHoldLinearAddresses()
    {
        using SnippetMachine m = Real();
        m.State.Dr[6] = 0xFFFF_0FF0;
        m.State.Dr[0] = 0x3_0010;
        m.State.Dr[3] = RealCode + 7;
        m.State.Dr[7] = 0x0003_0482; // G0: reads and writes of a byte; G3: execution
        m.State.Segments[3].Base = 0x3_0000;
        m.State.Segments[3].Selector = 0x3000;
        m.WriteBytes(RealCode, 0xA0, 0x0F, 0x00, 0xA1, 0x0F, 0x00, 0x90, 0x90, 0xF4); // mov al, [0Fh]; mov ax, [0Fh]; nop; nop; hlt
        Stop stop = m.RunToFault(1);
        Assert.Equal((RealCode + 6, 1ul), (stop.Rip, m.State.Dr[6] & 0xF));
        m.State.Dr[6] = 0xFFFF_0FF0;
        m.Restart(RealCode + 6);
        m.State.Segments[1] = new SegmentRegister { Limit = 0xFFFF, Attributes = 0x9B };
        stop = m.RunToFault(1);
        Assert.Equal((RealCode + 7, 8ul), (stop.Rip, m.State.Dr[6] & 0xF));
    }

    /// <summary>The prefetch queue of old processors would have kept the old byte; from the Pentium on, the new one runs.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TheNextInstructionIsTheOneJustWritten(bool again)
    {
        using SnippetMachine m = Real();
        m.Rcx = again ? 300u : 1;
        // start: mov cs:[next], al; next: hlt; xor al, 7 (43H, INC BX, becomes 44H, INC SP); loop start; hlt
        m.WriteBytes(RealCode, 0x2E, 0xA2, 0x04, 0x7C, 0xF4, 0x34, 0x07, 0xE2, 0xF7, 0xF4);
        m.Rax = 0x43; // inc bx
        m.RunToEnd();
        Assert.Equal(again ? 150u : 1, m.Rbx);
        Assert.Equal(RealCode + 10, m.State.Rip);
    }
}
