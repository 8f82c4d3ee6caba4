using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Exceptions that instructions raise, with exact state (SDM vol. 3A, chapter 6).</summary>
public sealed class ExceptionTests
{
    [Theory]
    [InlineData("F7F1")]        // div ecx
    [InlineData("F7F9")]        // idiv ecx
    [InlineData("49F7F4")]      // div r12
    [InlineData("F73B")]        // idiv dword [rbx]
    [InlineData("F6F4")]        // div ah
    public void DivideErrorsAreFaults(string code)
    {
        using SnippetMachine m = Long();
        m.Rax = 0x11;
        m.Rdx = 0x22;
        m.Rbx = Data;
        m.State.Rflags = 2 | 0x8D5;
        byte[] bytes = Convert.FromHexString(code);
        m.WriteBytes(Code, [0x90, .. bytes]);
        Stop stop = m.RunToFault(0);
        Assert.Equal((Code + 1, 0x8D7ul), (stop.Rip, stop.Rflags & 0xFFFF));
        Assert.Equal((0x11ul, 0x22ul, Data), (m.Rax, m.Rdx, m.Rbx));
    }

    [Fact]
    public void AQuotientTooLargeIsADivideErrorToo()
    {
        using SnippetMachine m = Long();
        m.Rax = 0x8000_0000;
        m.Rdx = 0xFFFF_FFFF;
        m.Rcx = 0xFFFF_FFFF;
        m.Write(c => c.idiv(ecx));
        Assert.Equal(Code, m.RunToFault(0).Rip);
    }

    [Fact]
    public void AMisalignedVectorOperandIsAGeneralProtectionFault()
    {
        using SnippetMachine m = Long();
        m.Rbx = Data + 8;
        ulong second = m.Write(c =>
        {
            c.movups(xmm0, __xmmword_ptr[rbx]);
            c.movaps(xmm1, __xmmword_ptr[rbx + 8]);
        });
        m.Write(second, c => c.movaps(__xmmword_ptr[rbx], xmm0));
        Stop stop = m.RunToFault(13);
        Assert.Equal((second, 0u), (stop.Rip, stop.ErrorCode));
    }

    [Fact]
    public void AlignmentChecksAreForRing3WithBothBits()
    {
        using SnippetMachine m = Long(cpl: 3);
        m.State.Cr0 |= Cr0Bits.Am;
        m.Rbx = Data + 1;
        ulong faulting = m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rbx]);
            c.pushfq();
            c.bts(__qword_ptr[rsp], 18);
            c.popfq();
            c.mov(eax, __dword_ptr[rbx + 3]);
            c.mov(al, __byte_ptr[rbx]);
        });
        m.Write(faulting, c => c.mov(ax, __word_ptr[rbx]));
        Stop stop = m.RunToFault(17);
        Assert.Equal((faulting, 0u), (stop.Rip, stop.ErrorCode));
    }

    [Theory]
    [InlineData("F4")]              // hlt
    [InlineData("FA")]              // cli
    [InlineData("0F01D8")]          // (vmrun)
    [InlineData("0F22D8")]          // mov cr3, rax
    [InlineData("0F20C0")]          // mov rax, cr0
    [InlineData("0F06")]            // clts
    [InlineData("0F08")]            // invd
    [InlineData("0F09")]            // wbinvd
    [InlineData("0F32")]            // rdmsr
    [InlineData("0F30")]            // wrmsr
    [InlineData("0F0113")]          // lgdt [rbx]
    [InlineData("0F013B")]          // invlpg [rbx]
    [InlineData("0F00D0")]          // lldt ax
    [InlineData("0F21C0")]          // mov rax, dr0
    [InlineData("EC")]              // in al, dx
    [InlineData("CD0E")]            // int 14
    public void PrivilegedInstructionsFaultInRing3(string code)
    {
        using SnippetMachine m = Long(cpl: 3);
        m.Rbx = Data;
        m.WriteBytes(Code, Convert.FromHexString(code));
        Stop stop = m.Run();
        Assert.Equal(Code, stop.Rip);
        Assert.Equal(code == "0F01D8" ? 6 : 13, stop.Vector);
        Assert.Equal(code == "CD0E" ? (14u * 8) + 2 : 0, stop.ErrorCode);
    }

    [Theory]
    [InlineData("0F0103")]          // sgdt
    [InlineData("0F010B")]          // sidt
    [InlineData("0F00C0")]          // sldt eax
    [InlineData("0F00C8")]          // str eax
    [InlineData("0F01E0")]          // smsw eax
    public void UmipHidesTheTables(string code)
    {
        using SnippetMachine m = Long(cpl: 3);
        m.Rbx = Data;
        m.WriteBytes(Code, [.. Convert.FromHexString(code), 0xCD, EndVector]);
        m.RunToEnd();
        using SnippetMachine hidden = Long(cpl: 3);
        hidden.State.Cr4 |= Cr4Bits.Umip;
        hidden.Rbx = Data;
        hidden.WriteBytes(Code, Convert.FromHexString(code));
        Assert.Equal(Code, hidden.RunToFault(13).Rip);
    }

    [Fact]
    public void RdtscGoesForwardAndTsdForbidsItInRing3()
    {
        using SnippetMachine m = Long(cpl: 3);
        m.Write(c =>
        {
            c.rdtsc();
            c.shl(rdx, 32);
            c.or(rax, rdx);
            c.mov(rbx, rax);
            c.rdtsc();
            c.shl(rdx, 32);
            c.or(rax, rdx);
            c.sub(rax, rbx);
            c.@int(EndVector);
        });
        m.RunToEnd();
        Assert.InRange((long)m.Rax, 1, long.MaxValue);
        Assert.InRange(m.Rbx, 0ul, m.Cpu.Tsc);

        using SnippetMachine forbidden = Long(cpl: 3);
        forbidden.State.Cr4 |= Cr4Bits.Tsd;
        forbidden.Write(c => c.rdtsc());
        Assert.Equal(Code, forbidden.RunToFault(13).Rip);

        using SnippetMachine kernel = Long();
        kernel.State.Cr4 |= Cr4Bits.Tsd;
        kernel.WriteBytes(Code, 0x0F, 0x31, 0xF4);
        kernel.RunToEnd();
    }

    [Fact]
    public void RdtscpReadsTimeAndAuxWithoutATrapAndTsdForbidsItInRing3()
    {
        const uint aux = 0xFFFF_1234;
        using SnippetMachine m = Long(cpl: 3);
        m.State.Msrs[0xC000_0103] = aux;
        m.Rcx = ulong.MaxValue;
        m.Write(c =>
        {
            c.rdtsc();
            c.shl(rdx, 32);
            c.or(rax, rdx);
            c.mov(rbx, rax);
            c.rdtscp();
            c.shl(rdx, 32);
            c.or(rax, rdx);
            c.sub(rax, rbx);
            c.@int(EndVector);
        });
        m.RunToEnd();
        Assert.InRange((long)m.Rax, 1, long.MaxValue);
        Assert.Equal(aux, m.Rcx);

        // INT, and the HLT of its handler.
        Assert.Equal(2, m.Cpu.Statistics.PrivilegedInstructions);

        using SnippetMachine forbidden = Long(cpl: 3);
        forbidden.State.Cr4 |= Cr4Bits.Tsd;
        forbidden.Write(c => c.rdtscp());
        Assert.Equal(Code, forbidden.RunToFault(13).Rip);
    }

    [Fact]
    public void AFaultWhoseStackIsGoneIsADoubleFault()
    {
        using SnippetMachine m = Long();
        m.SetGate(8, Handlers + (8 * 16), ist: 1);
        m.Rsp = Spare + 0x800;
        m.Write(c => c.ud2());

        // #UD is benign: the page fault of its delivery is delivered next, and fails in the same way.
        Stop stop = m.RunToFault(8);
        Assert.Equal((Code, 0u, Spare + 0x800), (stop.Rip, stop.ErrorCode, stop.Rsp));
    }

    [Fact]
    public void PushOnAMissingStackPageIsAPageFaultThenADoubleFault()
    {
        using SnippetMachine m = Long();
        m.SetGate(8, Handlers + (8 * 16), ist: 1);
        m.Rsp = Spare + 0x1000;
        m.Write(c => c.push(rax));
        Assert.Equal(Code, m.RunToFault(8).Rip);
        Assert.Equal(Spare + 0xFF8, m.State.Cr2);
    }

    [Fact]
    public void ATripleFaultShutsDown()
    {
        using SnippetMachine m = Long();
        m.State.IdtrLimit = 0;
        m.Write(c => c.ud2());
        Assert.Equal(ExitReason.Shutdown, m.Run().Reason);
        Assert.Equal(Code, m.State.Rip);
    }

    [Fact]
    public void AVectorBeyondTheIdtIsAGeneralProtectionFault()
    {
        using SnippetMachine m = Long();
        m.State.IdtrLimit = (32 * 16) - 1;
        m.Write(c => c.@int(0x30));
        Stop stop = m.RunToFault(13);
        Assert.Equal((Code, (0x30u * 8) + 2), (stop.Rip, stop.ErrorCode));
    }

    [Fact]
    public void BreakpointInstructionsAreTraps()
    {
        using SnippetMachine m = Long(cpl: 3);
        m.WriteBytes(Code, 0xCC);
        Assert.Equal(Code + 1, m.RunToFault(3).Rip);
        using SnippetMachine i = Long(cpl: 3);
        i.WriteBytes(Code, 0xF1);
        Assert.Equal(Code + 1, i.RunToFault(1).Rip);
    }

    [Fact]
    public void AFaultInTheMiddleOfABlockIsExact()
    {
        using SnippetMachine m = Long();
        m.Rbx = Spare;
        m.State.Gpr[12] = 5;
        ulong faulting = m.Write(c =>
        {
            c.mov(eax, 1);
            c.add(r12, 7);
            c.push(r12);
            c.movq(xmm3, r12);
            c.inc(eax);
        });
        m.Write(faulting, c =>
        {
            c.mov(__qword_ptr[rbx + 8], rax);
            c.inc(eax);
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal((faulting, 2ul, 12ul, Stack - 8), (stop.Rip, m.Rax, m.State.Gpr[12], stop.Rsp));
        Assert.Equal((UInt128)12, m.Xmm(3));
        Assert.Equal(Spare + 8, m.State.Cr2);
    }

    /// <summary>As on the PC AT: FERR# becomes an interrupt, whose handler clears the error; then the instruction runs.</summary>
    [Fact]
    public void WithoutNeAFloatingPointErrorWaitsForAnInterrupt()
    {
        using SnippetMachine m = Real();
        m.State.Cr0 = 0x10;
        m.State.Rflags |= 1 << 9;
        int errors = 0;
        m.Bus.OnFloatingPointError = () =>
        {
            if (errors++ == 3)
            {
                m.Bus.Interrupts.Enqueue(0x75);
                m.Cpu.RequestInterrupt();
            }
        };
        m.Memory.Write(0x75ul * 4, (0x2000u << 16) | 0x10);
        m.Write(0x10, c =>
        {
            c.inc(bx);
            c.fnclex();
            c.iret();
        }, physical: 0x2_0010);
        m.Memory.Write(0x600ul, (ushort)0x33B); // divisions by zero are not masked
        m.Write(c =>
        {
            c.fninit();
            c.fldcw(__word_ptr[0x600]);
            c.fld1();
            c.fldz();
            c.fdivp(st1, st0);
            c.inc(cx);
            c.fld1();
            c.inc(cx);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((4, 1ul, 2ul), (errors, m.Rbx, m.Rcx));
    }
}
