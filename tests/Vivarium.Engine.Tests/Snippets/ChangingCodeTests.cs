using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Code that changes so often that it is treated in another way than code that changes once.</summary>
public sealed class ChangingCodeTests
{
    private const uint Rounds = 100;
    private const uint Factor = 0x1357_9BDF;
    private const ulong Function = SnippetMachine.Code + 0x1000;

    /// <summary>Instructions that end with a 32-bit constant: their other bytes.</summary>
    public static TheoryData<byte[], string> Constants => new()
    {
        { [0xB8], "mov eax, imm32" },
        { [0x48, 0xC7, 0xC0], "mov rax, imm32" },
        { [0x05], "add eax, imm32" },
        { [0x48, 0x05], "add rax, imm32" },
        { [0x81, 0xC8], "or eax, imm32" },
        { [0x48, 0x81, 0xD0], "adc rax, imm32" },
        { [0x81, 0xD8], "sbb eax, imm32" },
        { [0x25], "and eax, imm32" },
        { [0x48, 0x81, 0xE8], "sub rax, imm32" },
        { [0x81, 0xF0], "xor eax, imm32" },
        { [0x3D], "cmp eax, imm32" },
        { [0x69, 0xC0], "imul eax, eax, imm32" },
        { [0xA9], "test eax, imm32" },
    };

    [Theory]
    [MemberData(nameof(Constants))]
    public void AConstantThatIsPatchedAgainAndAgainIsTheNewOneEachTime(byte[] opcode, string what)
    {
        _ = what;
        (ulong changed, ulong changedFlags) = SumOfRounds(opcode, patched: true);
        (ulong expected, ulong expectedFlags) = SumOfRounds(opcode, patched: false);
        Assert.Equal((expected, expectedFlags), (changed, changedFlags));
    }

    [Theory]
    [InlineData(new byte[] { 0x49, 0xBC }, 12)] // mov r12, imm64
    [InlineData(new byte[] { 0x48, 0xBC }, 4)]  // mov rsp, imm64
    [InlineData(new byte[] { 0x49, 0xB8 }, 8)]  // mov r8, imm64
    public void AWholeRegisterIsLoadedWithPatchedConstants(byte[] opcode, int register)
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Function, [.. opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xE5]); // ...; jmp rbp
        m.Rcx = Rounds;
        m.State.Gpr[14] = 0x1234_5678_9ABC_DEF1;
        m.Rdi = Function + (ulong)opcode.Length;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            Label back = c.CreateLabel();
            c.lea(rbp, __qword_ptr[back]);
            c.Label(ref again);
            c.imul(rax, rcx, 77);
            c.imul(rax, r14);
            c.mov(__qword_ptr[rdi], rax);
            c.jmp(Function);
            c.Label(ref back);
            c.xor(rax, new AssemblerRegister64(Register.RAX + register));
            c.or(rbx, rax);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0ul, m.Rbx);
        AssertTranslatedSeldom(m);
    }

    /// <summary>Kernels turn interrupts off and on by instructions that they have put in the place of calls.</summary>
    [Fact]
    public void InterruptsAreTurnedOffAndOnInChangingCodeWithoutTheMonitor()
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Function, 0xFA, 0xB8, 0, 0, 0, 0, 0xFB, 0x90, 0xFF, 0xE5); // cli; mov eax, imm32; sti; nop; jmp rbp
        m.Rcx = Rounds;
        m.Rdi = Function + 2;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            Label back = c.CreateLabel();
            c.lea(rbp, __qword_ptr[back]);
            c.Label(ref again);
            c.mov(__dword_ptr[rdi], ecx);
            c.jmp(Function);
            c.Label(ref back);
            c.add(rbx, rax);
            c.dec(ecx);
            c.jne(again);
            c.cli();
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(Rounds * (Rounds + 1) / 2, m.Rbx);
        Assert.InRange(m.Cpu.Statistics.PrivilegedInstructions, 0, 30);
        AssertTranslatedSeldom(m);
    }

    [Fact]
    public void AnArithmeticConstantOfARegisterWithoutAPlaceOfItsOwnIsPatched()
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Function, 0x41, 0x81, 0xC5, 0, 0, 0, 0, 0xC3); // add r13d, imm32; ret
        m.Rcx = Rounds;
        m.State.Gpr[13] = ulong.MaxValue << 32;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            c.mov(__dword_ptr[Function + 3], ecx);
            c.call(Function);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(Rounds * (Rounds + 1) / 2, m.State.Gpr[13]);
        AssertTranslatedSeldom(m);
    }

    /// <summary>INC EDX and DEC EDX by turns, three times as many of the one.</summary>
    [Fact]
    public void AnOpcodeThatIsPatchedAgainAndAgainIsTheNewOneEachTime()
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Function, 0x90, 0xFF, 0xC2, 0xC3);
        m.Rcx = Rounds * 4;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            Label up = c.CreateLabel();
            c.Label(ref again);
            c.mov(al, -54);                     // CAH: dec edx
            c.test(ecx, 3);
            c.je(up);
            c.mov(al, -62);                     // C2H: inc edx
            c.Label(ref up);
            c.mov(__byte_ptr[Function + 2], al);
            c.call(Function);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((ulong)Rounds * 2, m.Rdx);
    }

    [Fact]
    public void ABlockThatPatchesItselfAheadSeesEachValue()
    {
        using SnippetMachine m = Long();
        m.Rcx = Rounds;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            c.db(0x89, 0x0D, 2, 0, 0, 0);       // mov [rip+2], ecx: into the MOV behind the NOP
            c.nop();
            c.mov(eax, 0);
            c.xor(eax, ecx);
            c.or(ebx, eax);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0ul, m.Rbx);
    }

    /// <summary>The constant that is patched stands nearer or further ahead: in the block that patches it, at its end, behind it.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(30)]
    [InlineData(40)]
    [InlineData(41)]
    [InlineData(42)]
    [InlineData(46)]
    [InlineData(51)]
    [InlineData(56)]
    [InlineData(57)]
    [InlineData(58)]
    [InlineData(62)]
    [InlineData(90)]
    public void ABlockThatPatchesSoFarAheadSeesEachValue(int nops)
    {
        using SnippetMachine m = Long();
        m.Rcx = Rounds;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            c.inc(edx);
            c.db(0x89, 0x0D, (byte)(nops + 1), 0, 0, 0); // mov [rip + nops + 1], ecx: into the MOV behind the NOPs
            for (int i = 0; i < nops; i++)
            {
                c.nop();
            }

            c.mov(eax, 0);
            c.xor(eax, ecx);
            c.or(ebx, eax);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((0ul, (ulong)Rounds), (m.Rbx, m.Rdx));
    }

    /// <summary>A loop in code that changes often counts in its own page.</summary>
    [Fact]
    public void ACounterBesideChangingCodeIsCounted()
    {
        using SnippetMachine m = Long();
        m.Rcx = Rounds;
        m.WriteBytes(Function,
            0xBA, 0, 0, 0, 0,                       // mov edx, imm32
            0xB8, 50, 0, 0, 0,                      // mov eax, 50
            0x48, 0xFF, 0x05, 0xEF, 0x07, 0, 0,     // again: inc qword [Function + 0x800]
            0x01, 0xD6,                             // add esi, edx
            0xFF, 0xC8,                             // dec eax
            0x75, 0xF3,                             // jne again
            0xC3);
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.mov(edi, (int)Function);
            c.Label(ref again);
            c.mov(__dword_ptr[rdi + 1], ecx);
            c.call(rdi);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(Rounds * 50ul, m.Memory.Read<ulong>(Function + 0x800));
        Assert.Equal(Rounds * (Rounds + 1ul) / 2 * 50, m.Rsi);
        AssertTranslatedSeldom(m);
    }

    /// <summary>The opcode ahead changes between INC EDX and DEC EDX; the store that does it is an exchange, a push, a string instruction.</summary>
    [Theory]
    [InlineData("xchg")]
    [InlineData("push")]
    [InlineData("stos")]
    [InlineData("rep stos")]
    [InlineData("movdqu")]
    public void ABlockThatReplacesTheNextInstructionRunsTheNewOne(string how)
    {
        using SnippetMachine m = Long();
        m.Rcx = Rounds;
        m.State.Gpr[8] = 0xCAFF_CAFF_CAFF_CAFF;  // four times dec edx
        m.State.Gpr[9] = 0xC2FF_C2FF_C2FF_C2FF;  // inc edx
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            Label target = c.CreateLabel();
            c.mov(r11, rsp);
            c.Label(ref again);
            c.xchg(r8, r9);
            c.mov(rax, r8);
            c.lea(rdi, __qword_ptr[target]);
            c.mov(ebx, ecx);
            c.cld();
            switch (how)
            {
                case "xchg":
                    c.xchg(__qword_ptr[rdi], rax);
                    break;
                case "push":
                    c.lea(rsp, __qword_ptr[rdi + 8]);
                    c.push(rax);
                    break;
                case "stos":
                    c.stosq();
                    break;
                case "rep stos":
                    c.mov(ecx, 8);
                    c.rep.stosb();              // eight times the same byte: C2H or CAH is no instruction of ours
                    c.mov(__qword_ptr[rdi - 8], rax);
                    break;
                default:
                    c.movq(xmm0, rax);
                    c.movdqu(xmm1, __xmmword_ptr[rdi]);
                    c.movsd(xmm1, xmm0);
                    c.movdqu(__xmmword_ptr[rdi], xmm1);
                    break;
            }

            c.Label(ref target);
            c.nop();
            c.nop();
            c.nop();
            c.nop();
            c.nop();
            c.nop();
            c.nop();
            c.nop();
            c.mov(rsp, r11);
            c.mov(ecx, ebx);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0ul, m.Rdx & uint.MaxValue);
    }

    /// <summary>What has been patched often and then stays is run as it is, and patched once more it is seen.</summary>
    [Fact]
    public void CodeThatHasSettledIsStillSeenToChange()
    {
        using SnippetMachine m = Long();
        m.WriteBytes(Function, 0xFF, 0xC0, 0x81, 0xC2, 0, 0, 0, 0, 0xC3); // inc eax; add edx, imm32; ret
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            Label stay = c.CreateLabel();
            c.mov(ecx, Rounds);
            c.Label(ref again);
            c.mov(__dword_ptr[Function + 4], ecx);
            c.call(Function);
            c.dec(ecx);
            c.jne(again);
            c.mov(ecx, Rounds);
            c.Label(ref stay);
            c.call(Function);
            c.dec(ecx);
            c.jne(stay);
            c.mov(__byte_ptr[Function + 1], -56);   // C8H: dec eax
            c.call(Function);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((2ul * Rounds) - 1, m.Rax);
        Assert.Equal((Rounds * (Rounds + 1) / 2) + Rounds + 1, m.Rdx);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("loops-at-once")]
    public void APageOfFunctionsIsWrittenAgainAndAgain(string? options)
    {
        using SnippetMachine m = Long(options: options is null ? null : EngineOptions.Parse(options));
        m.Rbx = Rounds;
        m.Write(c =>
        {
            Label round = c.CreateLabel();
            Label write = c.CreateLabel();
            Label call = c.CreateLabel();
            c.Label(ref round);
            c.mov(rdi, Function);
            c.Label(ref write);
            c.mov(__word_ptr[rdi], 0x90);           // 00H 90H, of which the first byte is written again
            c.mov(__byte_ptr[rdi], -72);            // B8H
            c.lea(eax, __dword_ptr[rdi + rbx]);
            c.mov(__dword_ptr[rdi + 1], eax);
            c.mov(__byte_ptr[rdi + 5], -61);        // C3H
            c.add(rdi, 40);
            c.cmp(rdi, (int)Function + 4000);
            c.jb(write);
            c.mov(rdi, Function);
            c.Label(ref call);
            c.call(rdi);
            c.lea(ecx, __dword_ptr[rdi + rbx]);
            c.xor(ecx, eax);
            c.or(edx, ecx);
            c.add(rdi, 40);
            c.cmp(rdi, (int)Function + 4000);
            c.jb(call);
            c.dec(ebx);
            c.jne(round);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0ul, m.Rdx);
    }

    /// <summary>A device's thread patches, and waits until the new code has been run.</summary>
    [Fact]
    public void ADeviceThatPatchesAgainAndAgainIsSeen()
    {
        using SnippetMachine m = Long();
        uint value = 0;
        m.WriteBytes(Function, 0xB8, 0, 0, 0, 0, 0xC3);
        m.Bus.OnPortWrite = _ => m.Memory.Write(Function + 1, ++value);
        m.Rcx = Rounds;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            c.@out(0x80, al);
            c.call(Function);
            c.add(edx, eax);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((ulong)Rounds * (Rounds + 1) / 2, m.Rdx);
        AssertTranslatedSeldom(m);
    }

    /// <summary>Not patched, each round has a function of its own.</summary>
    private static (ulong Sum, ulong Flags) SumOfRounds(byte[] opcode, bool patched)
    {
        using SnippetMachine m = Long();
        for (uint round = 1; round <= Rounds; round++)
        {
            uint constant = patched ? 0 : round * Factor;
            m.WriteBytes(Function + (round * 16), [.. opcode, .. BitConverter.GetBytes(constant), 0xC3]);
        }

        m.Rcx = Rounds;
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            c.imul(eax, ecx, unchecked((int)Factor));
            c.mov(edi, ecx);
            c.shl(edi, 4);
            c.add(rdi, (int)Function);
            if (patched)
            {
                c.mov(edi, (int)Function + 16);
                c.mov(__dword_ptr[rdi + opcode.Length], eax);
            }

            c.mov(rax, 0x1_0000_0005);
            c.or(ecx, 0);
            c.bt(ecx, 0);
            c.call(rdi);
            c.pushfq();
            c.pop(rsi);
            c.and(esi, opcode[0] == 0x69 ? 0x801 : 0x8C1); // OF, CF; SF and ZF where they are defined
            c.imul(rdx, rdx, 31);
            c.add(rdx, rax);
            c.imul(r8, r8, 31);
            c.add(r8, rsi);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        return (m.Rdx, m.State.Gpr[8]);
    }

    private static void AssertTranslatedSeldom(SnippetMachine m)
    {
        if (TestOptions.Engine.Has(Optimizations.SelfChecks))
        {
            Assert.InRange(m.Cpu.Statistics.BlocksTranslated, 1, 40);
        }
    }
}
