using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>The stack's corner cases, and instructions that 64-bit mode no longer has.</summary>
public sealed class StackTests
{
    [Fact]
    public void PushAndPopOfTheStackPointerItself()
    {
        using SnippetMachine m = Long();
        m.Write(c =>
        {
            c.push(rsp);
            c.pop(rax);
            c.push(__qword_ptr[rsp]);
            c.pop(rcx);
            c.push(rax);
            c.push(0x55);
            c.pop(__qword_ptr[rsp + 8]);
            c.mov(rdx, __qword_ptr[rsp + 8]);
            c.mov(rbx, rsp);
            c.mov(rdi, Data);
            c.push(rdi);
            c.pop(rsp);
            c.mov(rsi, rsp);
            c.mov(rsp, rbx);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(Stack, m.Rax);
        Assert.Equal(0x55u, m.Rdx);
        Assert.Equal(Stack - 8, m.Rbx);
        Assert.Equal(Data, m.Rsi);
    }

    [Fact]
    public void ImmediatesAreSignExtendedAndSized()
    {
        using SnippetMachine m = Long();
        // push -1 (imm8); push imm32; push imm16 with 66h; pop ax
        m.WriteBytes(Code, 0x6A, 0xFF, 0x68, 0, 0, 0, 0x80, 0x66, 0x68, 0x34, 0x12, 0x66, 0x58, 0x59, 0x5A, 0xF4);
        m.RunToEnd();
        Assert.Equal(0x1234u, m.Rax);
        Assert.Equal(0xFFFF_FFFF_8000_0000u, m.Rcx);
        Assert.Equal(ulong.MaxValue, m.Rdx);
        Assert.Equal(Stack, m.Rsp);
    }

    [Fact]
    public void ReturnsReleaseTheirParameters()
    {
        using SnippetMachine m = Long();
        m.Write(c =>
        {
            var callee = c.CreateLabel();
            c.push(1);
            c.push(2);
            c.call(callee);
            c.mov(rax, rsp);
            c.hlt();
            c.Label(ref callee);
            c.ret(16);
        });
        m.RunToEnd();
        Assert.Equal(Stack, m.Rax);
    }

    [Fact]
    public void CallThroughTheStackPointer()
    {
        using SnippetMachine m = Long();
        m.Rbx = Code + 0x100;
        m.Write(c =>
        {
            c.push(rbx);
            c.call(__qword_ptr[rsp]);
            c.mov(rdx, rsp);
            c.hlt();
        });
        m.Write(Code + 0x100, c =>
        {
            c.mov(rax, __qword_ptr[rsp]);
            c.ret();
        });
        m.RunToEnd();
        Assert.Equal(Code + 4, m.Rax);
        Assert.Equal(Stack - 8, m.Rdx);
    }

    [Fact]
    public void EnterAndLeaveNest()
    {
        using SnippetMachine m = Long();
        m.Rbp = Stack - 0x100;
        m.Memory.Write(Stack - 0x108, 0xAAAAul);
        m.Write(c =>
        {
            c.enter(0x20, 2);
            c.mov(rax, rbp);
            c.mov(rcx, __qword_ptr[rbp - 8]);
            c.mov(rdx, __qword_ptr[rbp - 16]);
            c.mov(rbx, rsp);
            c.leave();
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(Stack - 8, m.Rax);
        Assert.Equal(0xAAAAu, m.Rcx);
        Assert.Equal(Stack - 8, m.Rdx);
        Assert.Equal(Stack - 24 - 0x20, m.Rbx);
        Assert.Equal((Stack, Stack - 0x100), (m.Rsp, m.Rbp));
    }

    [Fact]
    public void LeaveFaultsWithNothingChanged()
    {
        using SnippetMachine m = Long();
        m.Rbp = Spare;
        m.Write(c => c.leave());
        Stop stop = m.RunToFault(14);
        Assert.Equal((Stack, Spare), (stop.Rsp, m.Rbp));
    }

    [Theory]
    [InlineData(16)]
    [InlineData(32)]
    public void PushaAndPopa(int bits)
    {
        using SnippetMachine m = Protected(bits: bits);
        for (int i = 0; i < 8; i++)
        {
            m.State.Gpr[i] = i == 4 ? Stack : 0x1111_0000u + (uint)i;
        }

        m.WriteBytes(Code, 0x60, 0x89, 0xE0, 0x61, 0xF4); // pusha; mov eax, esp; popa; hlt
        m.RunToEnd();
        int size = bits / 8;
        for (int i = 0; i < 8; i++)
        {
            Assert.Equal(i == 4 ? Stack : 0x1111_0000u + (uint)i, m.State.Gpr[i] & uint.MaxValue);
            ulong at = Stack - (ulong)((i + 1) * size);
            Assert.Equal((ushort)(i == 4 ? Stack : (ulong)i), m.Memory.Read<ushort>(at));
        }
    }

    [Fact]
    public void PushaOverAMissingPageChangesNothing()
    {
        using SnippetMachine m = Protected(paging: PagingMode.Bits32);
        m.Pages.Map(Spare + 0x1000, Data);
        m.Rsp = Spare + 0x1010;
        m.Rax = 0x77;
        m.WriteBytes(Code, 0x60);
        Stop stop = m.RunToFault(14);
        Assert.Equal((Code, 2u, Spare + 0x1010), (stop.Rip, stop.ErrorCode, stop.Rsp));
        Assert.Equal(Spare + 0xFFC, m.State.Cr2);
    }

    [Fact]
    public void DecimalInstructions()
    {
        using SnippetMachine m = Protected();
        m.Write(c =>
        {
            c.mov(al, 0x79);
            c.add(al, 0x35);
            c.daa();
            c.setc(dl);
            c.mov(bl, al);
            c.mov(al, 0x47);
            c.sub(al, 0x28);
            c.das();
            c.mov(bh, al);
            c.mov(ax, 0x0012);
            c.aam(10);
            c.mov(cx, ax);
            c.aad(10);
            c.mov(si, ax);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x14, (byte)m.Rbx);
        Assert.Equal(1, (byte)m.Rdx);
        Assert.Equal(0x19, (byte)(m.Rbx >> 8));
        Assert.Equal(0x0108u, m.Rcx);
        Assert.Equal(0x0012u, m.Rsi);
    }

    [Fact]
    public void AamByZeroIsADivideError()
    {
        using SnippetMachine m = Protected();
        m.Rax = 0x55;
        m.WriteBytes(Code, 0xD4, 0x00);
        Assert.Equal(Code, m.RunToFault(0).Rip);
        Assert.Equal(0x55u, m.Rax);
    }

    [Fact]
    public void BoundAndInto()
    {
        using SnippetMachine m = Protected();
        m.Memory.Write(Data, 0x0000_0005_FFFF_FFFBul);
        m.Rbx = Data;
        m.Rax = 5;
        ulong second = m.Write(c =>
        {
            c.bound(eax, __qword_ptr[ebx]);
            c.neg(eax);
            c.bound(eax, __qword_ptr[ebx]);
            c.dec(eax);
        });
        m.Write(second, c => c.bound(eax, __qword_ptr[ebx]));
        Assert.Equal(second, m.RunToFault(5).Rip);

        using SnippetMachine o = Protected();
        ulong after = o.Write(c =>
        {
            c.into();
            c.mov(al, 0x7F);
            c.inc(al);
            c.into();
        });
        Assert.Equal(after, o.RunToFault(4).Rip);
    }

    [Fact]
    public void HighByteRegistersWithMemoryAndShifts()
    {
        using SnippetMachine m = Long();
        m.Rbx = 0x1234;
        m.Rax = 0xAB00;
        m.Rcx = 0x00CD;
        m.Rsi = Data;
        m.Write(c =>
        {
            c.mov(__byte_ptr[rsi], bh);
            c.mov(dh, __byte_ptr[rsi]);
            c.add(ah, bh);
            c.xchg(ch, bl);
            c.cmpxchg(__byte_ptr[rsi + 1], ah);
            c.xadd(__byte_ptr[rsi], bh);
            c.movzx(edi, ah);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x12 + 0x12, m.Memory.Read<byte>(Data));
        Assert.Equal(0x1200u, m.Rdx);
        Assert.Equal(0xBDu, m.Rdi);
        Assert.Equal(0x34CDu, m.Rcx);
        Assert.Equal(0xBD, m.Memory.Read<byte>(Data + 1));
    }

    [Fact]
    public void BitStringsReachBeyondTheirOperand()
    {
        using SnippetMachine m = Long();
        m.Rbx = Data + 0x100;
        m.Rax = unchecked((ulong)-9L);
        m.Rcx = 100;
        m.State.Gpr[12] = 65;
        m.Write(c =>
        {
            c.bts(__qword_ptr[rbx], rax);
            c.bts(__dword_ptr[rbx], ecx);
            c.@lock.bts(__word_ptr[rbx], r12w);
            c.bt(__dword_ptr[rbx], ecx);
            c.setc(dl);
            c.btr(__dword_ptr[rbx], ecx);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x80, m.Memory.Read<byte>(Data + 0xFE));
        Assert.Equal(0, m.Memory.Read<byte>(Data + 0x10C));
        Assert.Equal(2, m.Memory.Read<byte>(Data + 0x108));
        Assert.Equal(1u, m.Rdx);
    }

    [Fact]
    public void UpperRegistersWorkAsBaseIndexAndOperand()
    {
        using SnippetMachine m = Long();
        m.State.Gpr[12] = Data;
        m.State.Gpr[13] = 4;
        m.State.Gpr[14] = 0x1111;
        m.State.Gpr[15] = 0x2222;
        m.Write(c =>
        {
            c.mov(__qword_ptr[r12 + r13 * 4], r14);
            c.add(r15, __qword_ptr[r12 + r13 * 4]);
            c.lea(r14, __[r13 + r12 * 2]);
            c.xchg(r15, r13);
            c.imul(r12d, r13d, 3);
            c.movsx(r15, r13w);
            c.push(r12);
            c.pop(r14);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x1111u, m.Memory.Read<uint>(Data + 16));
        Assert.Equal(0x3333u, m.State.Gpr[13]);
        Assert.Equal(0x3333u, m.State.Gpr[15]);
        Assert.Equal(0x9999u, m.State.Gpr[12]);
        Assert.Equal(0x9999u, m.State.Gpr[14]);
    }
}
