using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Code that changes: by itself, by other code, through another mapping, by a device (SDM vol. 3A, 11.6).</summary>
public sealed class SelfModifyingTests
{
    [Fact]
    public void AnImmediateAheadInTheSameBlockIsPatched()
    {
        using SnippetMachine m = Long();
        // mov dword [rip+1], 0x12345678 ; mov eax, 0
        m.WriteBytes(Code, 0xC7, 0x05, 1, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0xB8, 0, 0, 0, 0, 0xF4);
        m.RunToEnd();
        Assert.Equal(0x1234_5678u, m.Rax);
    }

    [Fact]
    public void ALoopThatPatchesItselfSeesEachValue()
    {
        using SnippetMachine m = Long();
        m.Rcx = 10;
        m.Rbx = Code + 1;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.mov(eax, 0);                          // B8 imm32
            c.add(edx, eax);
            c.inc(__dword_ptr[rbx]);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(45u, m.Rdx);
    }

    [Fact]
    public void DataBesideCodeCanBeWritten()
    {
        using SnippetMachine m = Long();
        m.Rcx = 1000;
        m.Rbx = Code + 0x800;
        m.Rsi = Code + 0x3D;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.add(__qword_ptr[rbx], rcx);
            c.inc(__byte_ptr[rsi]);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(500_500u, m.Memory.Read<ulong>(Code + 0x800));
        Assert.Equal((byte)(1000 & 0xFF), m.Memory.Read<byte>(Code + 0x3D));
    }

    [Fact]
    public void ALinkedTargetIsPatched()
    {
        using SnippetMachine m = Long();
        m.Rbx = Code + 0x101;
        m.Rcx = 6;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.jmp(Code + 0x100);
            c.nop();
            c.nop();
        });
        m.Write(Code + 0x100, c =>
        {
            var end = c.CreateLabel();
            c.mov(eax, 1);
            c.add(edx, eax);
            c.dec(ecx);
            c.je(end);
            c.cmp(ecx, 3);
            c.jne(Code);
            c.mov(__byte_ptr[rbx], 0x10);
            c.jmp(Code);
            c.Label(ref end);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(3u + 0x30, m.Rdx);
    }

    [Fact]
    public void RepeatedStoresOverCodeReplaceIt()
    {
        using SnippetMachine m = Long();
        m.Write(Code + 0x1000, c =>
        {
            c.mov(ebx, 0x1111);
            c.ret();
        });
        m.Rsi = Code + 0x1000;
        m.Rdi = Code + 0x1000;
        m.Rcx = 0x40;
        m.Rax = 0x90;
        m.Memory.Write(Code + 0x1040, (byte)0xC3);
        m.Write(c =>
        {
            c.call(rsi);
            c.mov(edx, ebx);
            c.xor(ebx, ebx);
            c.rep.stosb();
            c.call(rsi);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x1111u, m.Rdx);
        Assert.Equal(0u, m.Rbx);
    }

    [Fact]
    public void RepeatedMovesCopyNewCodeOverOld()
    {
        using SnippetMachine m = Long();
        m.Write(Code + 0x1000, c =>
        {
            c.mov(ebx, 1);
            c.ret();
        });
        m.Write(Data, c =>
        {
            c.mov(ebx, 2);
            c.ret();
        });
        m.State.Gpr[8] = Code + 0x1000;
        m.Rdi = Code + 0x1000;
        m.Rsi = Data;
        m.Rcx = 0x1000 / 8;
        m.Write(c =>
        {
            c.call(r8);
            c.mov(edx, ebx);
            c.rep.movsq();
            c.call(r8);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(1u, m.Rdx);
        Assert.Equal(2u, m.Rbx);
    }

    [Fact]
    public void CodeIsPatchedThroughAnAlias()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Code + 0x1000);
        m.Write(Code + 0x1000, c =>
        {
            c.mov(ebx, 1);
            c.ret();
        });
        m.Rsi = Code + 0x1000;
        m.Rdi = Spare;
        m.Write(c =>
        {
            c.mov(__byte_ptr[rdi + 0x800], 1);      // the alias is in the TLB for writes before the code is translated
            c.call(rsi);
            c.mov(edx, ebx);
            c.mov(__byte_ptr[rdi + 1], 2);
            c.call(rsi);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(1u, m.Rdx);
        Assert.Equal(2u, m.Rbx);
    }

    [Fact]
    public void CodeIsReplacedByADeviceWhileTheVcpuStands()
    {
        using SnippetMachine m = Long();
        m.Write(c =>
        {
            c.mov(eax, 1);
            c.hlt();
        });
        m.RunToEnd();
        m.Memory.Write(Code + 1, 2u);
        m.Restart(Code);
        m.RunToEnd();
        Assert.Equal(2u, m.Rax);
    }

    [Fact]
    public void CodeIsReplacedByADeviceInTheMiddleOfARun()
    {
        using SnippetMachine m = Long();
        m.Write(Code + 0x1000, c =>
        {
            c.mov(ebx, 1);
            c.ret();
        });
        m.Bus.OnPortWrite = _ => m.Memory.Write(Code + 0x1001, 2u);
        m.Rsi = Code + 0x1000;
        m.Write(c =>
        {
            c.call(rsi);
            c.mov(r8d, ebx);
            c.@out(0x80, al);
            c.call(rsi);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(1u, m.State.Gpr[8]);
        Assert.Equal(2u, m.Rbx);
    }

    [Fact]
    public void TheInstructionAfterOutIsReplacedByItsDevice()
    {
        using SnippetMachine m = Long();
        ulong next = m.Write(c =>
        {
            c.mov(eax, 3);
            c.@out(0x80, al);
        });
        m.Write(next, c =>
        {
            c.mov(ebx, 1);
            c.hlt();
        });
        m.Bus.OnPortWrite = _ => m.Memory.Write(next + 1, 2u);
        m.RunToEnd();
        Assert.Equal(2u, m.Rbx);
        m.Bus.OnPortWrite = _ => m.Memory.Write(next + 1, 7u);
        m.Restart(Code);
        m.RunToEnd();
        Assert.Equal(7u, m.Rbx);
    }

    [Fact]
    public void APageIsUsedAgainForOtherCode()
    {
        using SnippetMachine m = Long();
        for (uint round = 1; round <= 3; round++)
        {
            m.Write(Data, c =>
            {
                c.mov(eax, round);
                c.ret();
            });
            m.Rsi = Data;
            m.Rdi = Code + 0x1000;
            m.Rcx = 2;
            m.State.Gpr[8] = Code + 0x1000;
            m.Write(Code, c =>
            {
                c.rep.movsq();
                c.call(r8);
                c.add(rdx, rax);
                c.hlt();
            });
            m.Restart(Code);
            m.RunToEnd();
        }

        Assert.Equal(6u, m.Rdx);
    }

    [Fact]
    public void AStoreCrossingIntoCodeReplacesIt()
    {
        using SnippetMachine m = Long();
        m.Write(Code + 0x1000, c =>
        {
            c.mov(ebx, 1);
            c.ret();
        });
        m.Rsi = Code + 0x1000;
        m.Rax = 0x02BB_0000_0000;
        m.Write(c =>
        {
            c.call(rsi);
            c.mov(edx, ebx);
            c.mov(__qword_ptr[rsi - 4], rax);
            c.call(rsi);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(1u, m.Rdx);
        Assert.Equal(2u, m.Rbx);
    }

    [Fact]
    public void UserCodePatchesItself()
    {
        using SnippetMachine m = Long(cpl: 3);
        m.Rsi = Code + 0x1000;
        m.Write(Code + 0x1000, c =>
        {
            c.mov(ebx, 1);
            c.ret();
        });
        m.Write(c =>
        {
            c.call(rsi);
            c.mov(edx, ebx);
            c.mov(__byte_ptr[rsi + 1], 2);
            c.call(rsi);
            c.@int(EndVector);
        });
        m.RunToEnd();
        Assert.Equal(1u, m.Rdx);
        Assert.Equal(2u, m.Rbx);
    }
}
