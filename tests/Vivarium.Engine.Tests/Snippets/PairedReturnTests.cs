using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>
/// Calls and returns that run as the host's own: whatever a guest does with its stack, a return goes where the stack says.
/// </summary>
public sealed class PairedReturnTests
{
    public static TheoryData<string> Options => ["", "no-paired-returns"];

    [Theory]
    [MemberData(nameof(Options))]
    public void RecursionDeeperThanTheFramesComesBack(string options)
    {
        const int depth = 200;
        using SnippetMachine m = Create(options);
        m.Rcx = 50;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            var sum = c.CreateLabel();
            var last = c.CreateLabel();
            c.Label(ref again);
            c.mov(eax, depth);
            c.call(sum);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
            c.Label(ref sum);
            c.add(rdx, rax);
            c.dec(eax);
            c.jz(last);
            c.call(sum);
            c.inc(rbx);
            c.Label(ref last);
            c.ret();
        });
        m.RunToEnd();
        Assert.Equal(50u * depth * (depth + 1) / 2, m.Rdx);
        Assert.Equal(50u * (depth - 1), m.Rbx);
        Assert.Equal(Stack, m.Rsp);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void ThousandsOfCallsUnderWayComeBack(string options)
    {
        const int depth = 5000;
        using SnippetMachine m = Create(options);
        m.Rsp = Data + 0x1_0000;
        m.Rax = depth;
        m.Write(c =>
        {
            var descend = c.CreateLabel();
            var last = c.CreateLabel();
            c.call(descend);
            c.hlt();
            c.Label(ref descend);
            c.dec(eax);
            c.jz(last);
            c.call(descend);
            c.inc(rbx);
            c.Label(ref last);
            c.ret();
        });
        m.RunToEnd();
        Assert.Equal(depth - 1u, m.Rbx);
        Assert.Equal(Data + 0x1_0000, m.Rsp);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void AReturnAddressThatWasReplacedIsFollowed(string options)
    {
        using SnippetMachine m = Create(options);
        m.Write(c =>
        {
            var again = c.CreateLabel();
            var callee = c.CreateLabel();
            var elsewhere = c.CreateLabel();
            c.mov(ecx, 100);
            c.Label(ref again);
            c.lea(rdx, __[elsewhere]);
            c.call(callee);
            c.ud2();
            c.Label(ref callee);
            c.mov(__qword_ptr[rsp], rdx);
            c.ret();
            c.Label(ref elsewhere);
            c.inc(ebx);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(100u, m.Rbx);
        Assert.Equal(Stack, m.Rsp);
    }

    /// <summary>What longjmp does: the frames between are never returned from.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void FramesThatAreNeverReturnedFromAreLeftBehind(string options)
    {
        using SnippetMachine m = Create(options);
        m.Rcx = 3000;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            var one = c.CreateLabel();
            var two = c.CreateLabel();
            c.Label(ref again);
            c.mov(rbp, rsp);
            c.call(one);
            c.inc(ebx);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
            c.Label(ref one);
            c.call(two);
            c.ud2();
            c.Label(ref two);
            c.lea(rsp, __[rbp - 8]);
            c.ret();
        });
        m.RunToEnd();
        Assert.Equal(3000u, m.Rbx);
        Assert.Equal(Stack, m.Rsp);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void TwoStacksThatSwitchInTurnsComeBack(string options)
    {
        using SnippetMachine m = Create(options);
        m.Write(c =>
        {
            var main = c.CreateLabel();
            var other = c.CreateLabel();
            var others = c.CreateLabel();
            var change = c.CreateLabel();
            c.mov(rbp, Data + 0x800);
            c.lea(rax, __[other]);
            c.mov(__qword_ptr[rbp], rax);
            c.mov(ecx, 500);
            c.Label(ref main);
            c.call(change);
            c.add(ebx, 2);
            c.dec(ecx);
            c.jnz(main);
            c.hlt();
            c.Label(ref other);
            c.mov(edi, 1);
            c.Label(ref others);
            c.add(edx, edi);
            c.call(change);
            c.inc(edi);
            c.jmp(others);
            c.Label(ref change);
            c.xchg(rsp, rbp);
            c.ret();
        });
        m.RunToEnd();
        Assert.Equal(1000u, m.Rbx);
        Assert.Equal(500u * 501 / 2, m.Rdx);
    }

    /// <summary>Position-independent code asks for its own address so: a call that no return belongs to.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void ACallThatIsPoppedLeavesNoFrameThatWouldMislead(string options)
    {
        using SnippetMachine m = Create(options);
        m.Rcx = 3000;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            var work = c.CreateLabel();
            var here = c.CreateLabel();
            c.Label(ref again);
            c.call(work);
            c.dec(ecx);
            c.jnz(again);
            c.hlt();
            c.Label(ref work);
            c.call(here);
            c.nop();
            c.Label(ref here);
            c.pop(rax);
            c.inc(ebx);
            c.ret();
        });
        m.RunToEnd();
        Assert.Equal(3000u, m.Rbx);
        Assert.Equal(Stack, m.Rsp);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void TheCalleeReplacesTheCodeItReturnsTo(string options)
    {
        using SnippetMachine m = Create(options);
        const ulong patched = Code + 0x100;
        m.Rcx = 40;
        m.WriteBytes(Code, 0xE8, 0xFB, 0x01, 0x00, 0x00); // call Code + 200H
        m.Write(Code + 5, c => c.jmp(patched));
        m.Write(patched, c =>
        {
            c.mov(eax, 0);
            c.add(rbx, rax);
            c.dec(ecx);
            c.jnz(Code);
            c.hlt();
        });
        m.Write(Code + 0x200, c =>
        {
            c.mov(__dword_ptr[patched + 1], ecx);
            c.ret();
        });
        m.RunToEnd();
        Assert.Equal(40u * 41 / 2, m.Rbx);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void TheCalleeReplacesTheInstructionBehindItsCall(string options)
    {
        using SnippetMachine m = Create(options);
        m.Rcx = 40;
        ulong end = m.Write(c =>
        {
            c.call(Code + 0x200);
            c.mov(eax, 0); // its operand at Code + 6
            c.add(rbx, rax);
            c.dec(ecx);
            c.jnz(Code);
            c.hlt();
        });
        m.Write(Code + 0x200, c =>
        {
            c.mov(__dword_ptr[Code + 6], ecx);
            c.ret(0);
        });
        m.RunToEnd();
        Assert.Equal(40u * 41 / 2, m.Rbx);
        Assert.Equal(end, m.State.Rip);
    }

    [Theory]
    [MemberData(nameof(Options))]
    public void TheCalleeMapsOtherCodeUnderItsCaller(string options)
    {
        using SnippetMachine m = Create(options);
        m.Pages.Map(Spare, Data);
        m.Write(Spare, c =>
        {
            c.call(__qword_ptr[Data + 0x4000]);
            c.mov(ebx, 1);
            c.hlt();
        }, physical: Data);
        m.Write(Spare, c =>
        {
            c.call(__qword_ptr[Data + 0x4000]);
            c.mov(ebx, 2);
            c.hlt();
        }, physical: Data + 0x1000);
        m.Memory.Write(Data + 0x4000, Code + 0x200);
        m.Write(c => c.jmp(Spare));
        ulong entry = m.Pages.Entry(Spare, 12);
        m.Write(Code + 0x200, c =>
        {
            c.mov(rax, entry);
            c.xor(__qword_ptr[rax], 0x1000);
            c.invlpg(__byte_ptr[Spare]);
            c.ret();
        });
        m.Memory.Write(entry, Data | PageTables.P | PageTables.Rw);
        m.RunToEnd();
        Assert.Equal(2u, m.Rbx);
    }

    /// <summary>The stack holds the target still: the return has not happened.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void AReturnToNoCanonicalAddressFaultsWithTheStackUnchanged(string options)
    {
        using SnippetMachine m = Create(options);
        ulong at = 0;
        m.Write(c =>
        {
            c.call(Code + 0x200);
            c.hlt();
        });
        at = m.Write(Code + 0x200, c =>
        {
            c.mov(rax, 0x8000_0000_0000ul);
            c.mov(__qword_ptr[rsp], rax);
        });
        m.Write(at, c => c.ret());
        Stop stop = m.RunToFault(13);
        Assert.Equal(0u, stop.ErrorCode);
        Assert.Equal(at, stop.Rip);
        Assert.Equal(Stack - 8, stop.Rsp);
    }

    /// <summary>POPF in the callee sets TF: each instruction from the next but one on traps, the return and its target too.</summary>
    [Theory]
    [MemberData(nameof(Options))]
    public void SingleStepsGoOnThroughAReturn(string options)
    {
        using SnippetMachine m = Create(options);
        m.Write(c =>
        {
            c.call(Code + 0x200);
            c.nop();
            c.hlt();
        });
        m.Write(Code + 0x200, c =>
        {
            c.pushfq();
            c.bts(__dword_ptr[rsp], 8);
            c.popfq();
            c.ret();
        });
        ulong handler = Code + 0x400;
        m.SetGate(1, handler);
        m.Write(handler, c =>
        {
            c.mov(rax, __qword_ptr[rsp]);
            c.mov(__qword_ptr[(rbx * 8) + (int)Data], rax);
            c.inc(ebx);
            c.iretq();
        });
        m.RunToEnd();
        Assert.Equal(2u, m.Rbx);
        Assert.Equal(Code + 5, m.Memory.Read<ulong>(Data));
        Assert.Equal(Code + 6, m.Memory.Read<ulong>(Data + 8));
    }

    /// <summary>The frame of a call in 64-bit code must not serve a return in compatibility mode, or the reverse.</summary>
    [Fact]
    public void ACallAndAReturnInDifferentModesMeet()
    {
        using SnippetMachine m = Long();
        m.Memory.Write(Data, (uint)(Code + 0x300) | ((ulong)Code32 << 32));
        m.Memory.Write(Data + 16, (uint)(Code + 0x400) | ((ulong)Code64 << 32));
        m.Write(c =>
        {
            c.call(Code + 0x200);
            c.inc(ebx);
            c.hlt();
        });
        m.Write(Code + 0x200, c => c.jmp(__fword_ptr[Data]));
        m.Write(Code + 0x300, c =>
        {
            c.call(Code + 0x380);
            c.mov(ecx, 3);
            c.jmp(__fword_ptr[Data + 16]);
        }, bits: 32);
        m.Write(Code + 0x380, c => c.ret(), bits: 32);
        m.Write(Code + 0x400, c => c.ret());
        m.RunToEnd();
        Assert.Equal(1u, m.Rbx);
        Assert.Equal(3u, m.Rcx);
        Assert.Equal(Stack, m.Rsp);
    }

    private static SnippetMachine Create(string options) => Long(options: EngineOptions.Parse(options));
}
