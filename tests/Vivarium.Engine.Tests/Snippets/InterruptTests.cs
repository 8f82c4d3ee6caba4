using System.Diagnostics;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>When interrupts are taken, and how soon (SDM vol. 3A, 6.7-6.8).</summary>
public sealed class InterruptTests
{
    private const ulong If = 1 << 9;

    /// <summary>OUT to any port raises interrupt 40H, as a device would.</summary>
    private static SnippetMachine Raising(bool enabled)
    {
        SnippetMachine m = Long();
        m.State.Rflags |= enabled ? If : 0;
        m.Bus.OnPortWrite = _ => Raise(m);
        return m;
    }

    private static void Raise(SnippetMachine m)
    {
        m.Bus.Interrupts.Enqueue(0x40);
        m.Cpu.RequestInterrupt();
    }

    [Fact]
    public void AnInterruptIsTakenAfterTheInstructionThatCausedIt()
    {
        using SnippetMachine m = Raising(enabled: true);
        m.WriteBytes(Code, 0xE6, 0x80, 0xFF, 0xC0, 0xF4);
        Stop stop = m.RunToFault(0x40);
        Assert.Equal(Code + 2, stop.Rip);
        Assert.Equal(0u, m.Rax);
        Assert.Equal(0u, m.State.Rflags & If);
    }

    [Fact]
    public void StiShadowsOneInstruction()
    {
        using SnippetMachine m = Raising(enabled: false);
        m.WriteBytes(Code, 0xE6, 0x80, 0x90, 0xFB, 0xFF, 0xC0, 0xFF, 0xC0, 0xF4); // out; nop; sti; inc eax; inc eax; hlt
        Stop stop = m.RunToFault(0x40);
        Assert.Equal(Code + 6, stop.Rip);
        Assert.Equal(1u, m.Rax);
    }

    [Fact]
    public void StiFollowedByCliLetsNothingIn()
    {
        using SnippetMachine m = Raising(enabled: false);
        m.WriteBytes(Code, 0xE6, 0x80, 0xFB, 0xFA, 0x90, 0xF4);
        m.RunToEnd();
        Assert.Equal(Code + 6, m.State.Rip);
    }

    [Fact]
    public void StiWithInterruptsOnShadowsNothing()
    {
        using SnippetMachine m = Raising(enabled: true);
        m.Bus.OnPortWrite = null;
        m.WriteBytes(Code, 0xFB, 0x90, 0xF4);
        Raise(m);
        Assert.Equal(Code, m.RunToFault(0x40).Rip);
    }

    [Fact]
    public void MovSsShadowsOneInstruction()
    {
        using SnippetMachine m = Raising(enabled: true);
        m.Rax = Data32;
        m.Rdx = Data32;
        m.State.Rflags &= ~If;
        // out; push 202h; mov ss, ax without interrupts; popf is the shadowed instruction; inc ecx
        m.WriteBytes(Code, 0xE6, 0x80, 0x68, 0x02, 0x02, 0, 0, 0x8E, 0xD0, 0x9D, 0xFF, 0xC1, 0xF4);
        Stop stop = m.RunToFault(0x40);
        Assert.Equal(Code + 10, stop.Rip);
        Assert.Equal(0u, m.Rcx);
    }

    [Fact]
    public void PopfAndIretOpenTheWindowAtOnce()
    {
        using SnippetMachine m = Raising(enabled: false);
        m.WriteBytes(Code, 0xE6, 0x80, 0x68, 0x02, 0x02, 0, 0, 0x9D, 0xFF, 0xC1, 0xF4);
        Assert.Equal(Code + 8, m.RunToFault(0x40).Rip);

        using SnippetMachine i = Raising(enabled: false);
        i.Rbx = Stack;
        i.Write(c =>
        {
            c.@out(0x80, al);
            c.push(Data32);
            c.push(rbx);
            c.push(0x202);
            c.push(Code64);
            c.mov(rax, Code + 0x100);
            c.push(rax);
            c.iretq();
        });
        Assert.Equal(Code + 0x100, i.RunToFault(0x40).Rip);
    }

    [Fact]
    public void AnInterruptWaitsThroughInstructionsWithoutIf()
    {
        using SnippetMachine m = Raising(enabled: false);
        m.Rcx = 1000;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.@out(0x80, al);
            c.Label(ref again);
            c.dec(ecx);
            c.jne(again);
            c.sti();
            c.nop();
            c.nop();
            c.hlt();
        });
        Assert.Equal(0x40, m.Run().Vector);
        Assert.Equal(0u, m.Rcx);
    }

    [Fact]
    public void ANmiBlocksFurtherOnesUntilIret()
    {
        using SnippetMachine m = Long();
        m.SetGate(2, Code + 0x400);
        m.Bus.OnPortWrite = _ => m.Cpu.RequestNmi();
        m.Write(Code + 0x400, c =>
        {
            var once = c.CreateLabel();
            c.inc(ebx);
            c.cmp(ebx, 1);
            c.jne(once);
            c.@out(0x80, al);
            c.nop();
            c.mov(ecx, ebx);
            c.Label(ref once);
            c.iretq();
        });
        m.WriteBytes(Code, 0xE6, 0x80, 0x90, 0xF4);
        m.RunToEnd();
        Assert.Equal(1u, m.Rcx);
        Assert.Equal(2u, m.Rbx);
    }

    [Fact]
    public void HaltEndsWithAnInterruptOnlyIfTheyAreOn()
    {
        using SnippetMachine m = Long();
        m.State.Rflags |= If;
        m.WriteBytes(Code, 0xF4, 0xFF, 0xC0, 0xF4);
        m.RunToEnd();
        Assert.True(m.State.Halted);
        Assert.Equal(Code + 1, m.State.Rip);
        Raise(m);
        Assert.True(m.Cpu.HasPendingEvent);
        Stop stop = m.Continue();
        Assert.Equal((0x40, Code + 1), (stop.Vector, stop.Rip));

        using SnippetMachine off = Long();
        off.WriteBytes(Code, 0xF4, 0xF4);
        off.RunToEnd();
        Raise(off);
        Assert.False(off.Cpu.HasPendingEvent);
        Assert.Equal(Code + 1, off.Continue().Rip);
        off.Cpu.RequestNmi();
        Assert.True(off.Cpu.HasPendingEvent);
        Assert.Equal(2, off.Continue().Vector);
    }

    [Fact]
    public void StiHaltIsNotMissed()
    {
        using SnippetMachine m = Raising(enabled: false);
        m.WriteBytes(Code, 0xE6, 0x80, 0xFB, 0xF4);
        Stop stop = m.Run();
        Assert.Equal((0x40, Code + 4), (stop.Vector, stop.Rip));
    }

    [Fact]
    public void ASpuriousRequestDoesNothing()
    {
        using SnippetMachine m = Long();
        m.State.Rflags |= If;
        m.Cpu.RequestInterrupt();
        m.WriteBytes(Code, 0x90, 0xF4);
        m.RunToEnd();
        Assert.False(m.Cpu.HasPendingEvent);
    }

    public static TheoryData<string> Endless => ["jmp $", "loop", "rep", "recursion", "calls", "indirect", "cross-page", "user", "two blocks"];

    [Theory]
    [MemberData(nameof(Endless))]
    public void AKickEndsABusyLoopSoon(string kind)
    {
        using SnippetMachine m = Long(kind == "user" ? 3 : 0);
        m.Rcx = ulong.MaxValue >> 4;
        m.Rdi = Data;
        m.Rsi = Code;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            switch (kind)
            {
                case "jmp $" or "user":
                    c.jmp(again);
                    break;
                case "loop":
                    c.loop(again);
                    c.jmp(again);
                    break;
                case "rep":
                    c.mov(rdi, Data);
                    c.mov(rcx, ulong.MaxValue >> 8);
                    c.mov(rsi, Data + 0x100);
                    c.std();
                    c.cld();
                    c.rep.lodsb();
                    break;
                case "recursion":
                    c.lea(rsp, __[rsp + 8]);
                    c.call(again);
                    break;
                case "calls":
                    // Nothing jumps back, and more calls than could ever be made lie before the end.
                    var sum = c.CreateLabel();
                    var innermost = c.CreateLabel();
                    c.mov(ecx, 200);
                    c.call(sum);
                    c.hlt();
                    c.Label(ref sum);
                    c.dec(ecx);
                    c.je(innermost);
                    c.call(sum);
                    c.call(sum);
                    c.Label(ref innermost);
                    c.inc(ecx);
                    c.ret();
                    break;
                case "indirect":
                    c.jmp(rsi);
                    break;
                case "cross-page":
                    c.jmp(Code + 0x1000);
                    break;
                default:
                    var other = c.CreateLabel();
                    c.jmp(other);
                    c.nop();
                    c.Label(ref other);
                    c.inc(rax);
                    c.jmp(again);
                    break;
            }
        });
        m.Write(Code + 0x1000, c => c.jmp(Code));
        if (kind == "rep")
        {
            // LODS runs up through memory: the whole of a repeat is one page, again and again.
            for (ulong page = Spare; page < Tables; page += 0x1000)
            {
                m.Pages.Map(page, Data, PageTables.P);
            }

            m.Write(c =>
            {
                c.mov(rsi, 0xFF800);
                c.std();
                c.mov(rcx, 0x4_0000_0000);
                c.rep.lodsb();
            });
            m.SetGate(14, Code + 0x400);
            m.Write(Code + 0x400, c =>
            {
                c.add(rsp, 8);
                c.mov(rsi, 0xFF800);
                c.iretq();
            });
        }

        m.Cpu.SetState(m.State);
        long asked = 0;
        using var timer = new Timer(_ =>
        {
            asked = Stopwatch.GetTimestamp();
            m.Cpu.Kick();
        }, null, 20, Timeout.Infinite);
        Stop stop = m.Continue();
        TimeSpan took = Stopwatch.GetElapsedTime(asked);
        Assert.Equal(ExitReason.Cancelled, stop.Reason);
        Assert.True(took < TimeSpan.FromSeconds(2), $"{took}");
    }

    [Fact]
    public void AnInterruptBreaksAndResumesARepeatedInstruction()
    {
        using SnippetMachine m = Long(ramSize: 64 << 20);
        m.State.Rflags |= If;
        m.Pages.MapLarge(0x4000_0000, 0x200_0000, 21);
        m.Pages.MapLarge(0x4020_0000, 0x220_0000, 21);
        m.SetGate(0x40, Code + 0x400);
        m.Write(Code + 0x400, c =>
        {
            c.inc(ebx);
            c.mov(rdx, rcx);
            c.iretq();
        });
        m.Rdi = 0x4000_0000;
        m.Rcx = 0x8_0000;
        m.Rax = 0x0102_0304_0506_0708;
        m.Write(c =>
        {
            c.rep.stosq();
            c.hlt();
        });
        Raise(m);
        m.RunToEnd();
        Assert.Equal(1u, m.Rbx);
        Assert.Equal(0u, m.Rcx);
        Assert.Equal(0x0102_0304_0506_0708u, m.Memory.Read<ulong>(0x23F_FFF8));
    }

    [Fact]
    public void AKickBeforeRunReturnsAtOnceAndOnce()
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Code, 0xF4);
        m.Cpu.SetState(m.State);
        m.Cpu.Kick();
        Assert.Equal(ExitReason.Cancelled, m.Continue().Reason);
        Assert.Equal(Code, m.State.Rip);
        AssertEnd(m.Continue());
    }

    [Fact]
    public void AnInterruptFromUserCodeSwitchesTheStack()
    {
        using SnippetMachine m = Long(cpl: 3);
        m.State.Rflags |= If;
        m.WriteBytes(Code, 0xEB, 0xFE);
        m.Cpu.SetState(m.State);
        using var timer = new Timer(_ => Raise(m), null, 5, Timeout.Infinite);
        Stop stop = m.Continue();
        Assert.Equal((0x40, Code, UserCode64, UserStack), (stop.Vector, stop.Rip, stop.Cs, stop.Rsp));
        Assert.Equal(InnerStack - 40, m.Rsp);
    }
}
