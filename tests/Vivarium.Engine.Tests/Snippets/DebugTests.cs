using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Single-step and breakpoints (SDM vol. 3B, 17.2-17.3).</summary>
public sealed class DebugTests
{
    private const ulong Tf = 1 << 8, Rf = 1 << 16;
    private const ulong SingleStep = 1 << 14;

    /// <summary>#DB goes to a handler that notes the pushed RIP in a list at R15 and returns, with RF set.</summary>
    private static SnippetMachine Traced()
    {
        SnippetMachine m = Long();
        m.State.Dr[6] = 0xFFFF_0FF0;
        m.State.Dr[7] = 0x400;
        m.State.Gpr[15] = Data + 0x4000;
        m.SetGate(1, Code + 0x800);
        m.Write(Code + 0x800, c =>
        {
            c.push(rax);
            c.mov(rax, __qword_ptr[rsp + 8]);
            c.mov(__qword_ptr[r15], rax);
            c.mov(rax, dr6);
            c.mov(__qword_ptr[r15 + 8], rax);
            c.add(r15, 16);
            c.xor(eax, eax);
            c.mov(dr6, rax);
            c.bts(__qword_ptr[rsp + 24], 16);
            c.pop(rax);
            c.iretq();
        });
        return m;
    }

    /// <summary>Where the traps were, as offsets in the snippet.</summary>
    private static List<long> Traps(SnippetMachine m)
    {
        var traps = new List<long>();
        for (ulong at = Data + 0x4000; at < m.State.Gpr[15]; at += 16)
        {
            traps.Add((long)(m.Memory.Read<ulong>(at) - Code));
        }

        return traps;
    }

    [Fact]
    public void EveryInstructionTraps()
    {
        using SnippetMachine m = Traced();
        m.State.Rflags |= Tf;
        m.WriteBytes(Code, 0xFF, 0xC0, 0x90, 0xEB, 0x00, 0x50, 0x58, 0xF4); // inc eax; nop; jmp +0; push rax; pop rax; hlt
        Assert.Equal(ExitReason.Halt, m.Run().Reason);
        Assert.Equal([2, 3, 5, 6, 7], Traps(m).Take(5));
        Assert.Equal(SingleStep, m.Memory.Read<ulong>(Data + 0x4008) & 0xE00F);
        Assert.Equal(1u, m.Rax);
    }

    [Fact]
    public void TheTrapBeginsAfterTheInstructionThatFollowsPopf()
    {
        using SnippetMachine m = Traced();
        m.Memory.Write(Stack - 8, 2 | Tf);
        m.Memory.Write(Stack - 16, 2ul);
        m.Rsp = Stack - 8;
        m.WriteBytes(Code, 0x9D, 0x90, 0x90, 0x6A, 0x02, 0x9D, 0x90, 0xF4); // popf; nop; nop; push 2; popf; nop; hlt
        m.RunToEnd();
        Assert.Equal([2, 3, 5, 6], Traps(m));
    }

    [Fact]
    public void AFaultingInstructionTrapsOnlyWhenItIsDone()
    {
        using SnippetMachine m = Traced();
        m.State.Rflags |= Tf;
        m.SetGate(6, Code + 0x400);
        m.Write(Code + 0x400, c =>
        {
            c.add(__qword_ptr[rsp], 2);
            c.iretq();
        });
        m.WriteBytes(Code, 0x90, 0x0F, 0x0B, 0x90, 0x90, 0x6A, 0x02, 0x9D, 0xF4); // nop; ud2; nop; nop; push 2; popf; hlt
        m.RunToEnd();
        Assert.Equal([1, 4, 5, 7, 8], Traps(m));
    }

    [Fact]
    public void StiDoesNotHoldTheTrapOffButMovSsDoes()
    {
        using SnippetMachine m = Traced();
        m.State.Rflags |= Tf;
        m.Rax = Data32;
        m.WriteBytes(Code, 0xFB, 0x90, 0x8E, 0xD0, 0x90, 0x90, 0x6A, 0x02, 0x9D, 0xF4); // sti; nop; mov ss, ax; nop; nop; push 2; popf; hlt
        m.RunToEnd();
        Assert.Equal([1, 2, 5, 6, 8, 9], Traps(m));
    }

    [Fact]
    public void EachIterationOfARepeatedInstructionTraps()
    {
        using SnippetMachine m = Traced();
        m.State.Rflags |= Tf;
        m.Rcx = 3;
        m.Rdi = Data;
        m.Rsi = Data + 0x100;
        m.WriteBytes(Code, 0xF3, 0xA4, 0x6A, 0x02, 0x9D, 0xF4); // rep movsb; push 2; popf; hlt
        m.RunToEnd();
        Assert.Equal([0, 0, 2, 4, 5], Traps(m));
        Assert.Equal(Data + 3, m.Rdi);
    }

    [Fact]
    public void ASoftwareInterruptClearsTheTrapFlag()
    {
        using SnippetMachine m = Traced();
        m.State.Rflags |= Tf;
        m.SetGate(0x30, Code + 0x400);
        m.Write(Code + 0x400, c =>
        {
            c.nop();
            c.iretq();
        });
        m.WriteBytes(Code, 0x90, 0xCD, 0x30, 0x90, 0x6A, 0x02, 0x9D, 0xF4); // nop; int 30h; nop; push 2; popf; hlt
        m.RunToEnd();
        Assert.Equal([1, 4, 6, 7], Traps(m));
    }

    [Fact]
    public void AnInstructionBreakpointFaultsBeforeAndRfPassesIt()
    {
        using SnippetMachine m = Traced();
        m.State.Dr[0] = Code + 2;
        m.State.Dr[7] |= 2;
        m.WriteBytes(Code, 0xFF, 0xC0, 0xFF, 0xC0, 0xFF, 0xC0, 0xF4);
        m.RunToEnd();
        Assert.Equal([2], Traps(m));
        Assert.Equal(1u, m.Memory.Read<ulong>(Data + 0x4008) & 0xE00F);
        Assert.Equal(3u, m.Rax);
    }

    [Fact]
    public void AnInstructionBreakpointOnARepeatedInstructionFiresOnce()
    {
        using SnippetMachine m = Traced();
        m.State.Dr[0] = Code;
        m.State.Dr[7] |= 2;
        m.Rcx = 5;
        m.Rdi = Data;
        m.WriteBytes(Code, 0xF3, 0xAA, 0xF4);
        m.RunToEnd();
        Assert.Equal([0], Traps(m));
        Assert.Equal(0u, m.Rcx);
    }

    /// <summary>Condition and length bits, instruction bytes, whether it hits. RBX = the watched quadword.</summary>
    [Theory]
    [InlineData(1, 3, "8903", true)]            // mov [rbx], eax
    [InlineData(1, 3, "8B03", false)]           // mov eax, [rbx]
    [InlineData(3, 3, "8B03", true)]
    [InlineData(3, 3, "8B4304", false)]         // mov eax, [rbx+4]
    [InlineData(3, 2, "8B4304", true)]          // eight bytes
    [InlineData(3, 0, "668B43FF", true)]        // mov ax, [rbx-1]
    [InlineData(1, 3, "0103", true)]            // add [rbx], eax
    [InlineData(1, 3, "50", false)]             // push rax
    [InlineData(3, 3, "F30F6F43F8", true)]      // movdqu xmm0, [rbx-8]
    [InlineData(1, 3, "4889DFAB", true)]        // mov rdi, rbx; stosd
    [InlineData(3, 3, "4889DEAD", true)]        // mov rsi, rbx; lodsd
    public void DataBreakpointsTrapAfterTheAccess(int condition, int length, string code, bool hits)
    {
        using SnippetMachine m = Traced();
        m.Rbx = Data;
        m.State.Dr[3] = Data;
        m.State.Dr[7] |= (0x80ul) | ((ulong)condition << 28) | ((ulong)length << 30);
        byte[] bytes = Convert.FromHexString(code);
        m.WriteBytes(Code, [.. bytes, 0xF4]);
        m.RunToEnd();
        Assert.Equal(hits ? [bytes.Length] : [], Traps(m));
        if (hits)
        {
            Assert.Equal(8u, m.Memory.Read<ulong>(Data + 0x4008) & 0xE00F);
        }
    }

    [Fact]
    public void AWatchMetByAnInstructionThatFaultsIsForgotten()
    {
        using SnippetMachine m = Traced();
        m.State.Dr[3] = Data;
        m.State.Dr[7] |= 0x80 | (3ul << 28) | (3ul << 30);
        m.Rsi = Data;
        m.Rdi = Spare;
        m.SetGate(14, Code + 0x400);
        m.WriteBytes(Code + 0x400, 0x90, 0xF4);
        m.WriteBytes(Code, 0xA5);   // movsd
        m.RunToEnd();
        Assert.Empty(Traps(m));
    }

    [Fact]
    public void GeneralDetectGuardsTheDebugRegisters()
    {
        using SnippetMachine m = Long();
        m.State.Dr[7] = 0x2400;
        m.Write(c => c.mov(rax, dr0));
        Stop stop = m.RunToFault(1);
        Assert.Equal(Code, stop.Rip);
        Assert.Equal(1ul << 13, m.State.Dr[6] & (1 << 13));
        Assert.Equal(0ul, m.State.Dr[7] & (1 << 13));
    }

    [Fact]
    public void FaultsPushRf()
    {
        using SnippetMachine m = Long();
        m.Write(c => c.ud2());
        Assert.Equal(Rf, m.RunToFault(6).Rflags & Rf);
    }
}
