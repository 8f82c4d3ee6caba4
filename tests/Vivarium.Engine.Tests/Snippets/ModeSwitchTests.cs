using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>From one operating mode to another (SDM vol. 3A, 9.8-9.9).</summary>
public sealed class ModeSwitchTests
{
    private static byte[] FarJump(uint offset, ushort selector)
        => [0xEA, .. BitConverter.GetBytes(offset), .. BitConverter.GetBytes(selector)];

    [Fact]
    public void RealToProtectedToLongToCompatibilityToLong()
    {
        using SnippetMachine m = Real();
        m.Memory.Write(0x600ul, (ushort)0xFF);
        m.Memory.Write(0x602ul, (uint)Gdt);
        var tables = new PageTables(m.Memory, PagingMode.FourLevel, Tables);
        tables.MapLarge(0, 0, 21, P | Rw);

        ulong at = m.Write(c =>
        {
            c.lgdt(__[0x600]);
            c.mov(eax, cr0);
            c.or(eax, 1);
            c.mov(cr0, eax);
        });
        m.WriteBytes(at, [0x66, .. FarJump((uint)Code, Code32)]);

        at = m.Write(Code, c =>
        {
            c.mov(ax, Data32);
            c.mov(ds, eax);
            c.mov(ss, eax);
            c.mov(esp, (uint)Stack);
            c.push(0x11);
            c.mov(eax, (uint)Tables);
            c.mov(cr3, eax);
            c.mov(eax, cr4);
            c.or(eax, (uint)Cr4Bits.Pae);
            c.mov(cr4, eax);
            c.mov(ecx, 0xC000_0080u);
            c.rdmsr();
            c.or(eax, 0x100);
            c.wrmsr();
            c.mov(eax, cr0);
            c.bts(eax, 31);
            c.mov(cr0, eax);
            c.push(0x22);
        }, bits: 32);
        m.WriteBytes(at, FarJump((uint)Code + 0x1000, Code64));

        m.Write(Code + 0x1000, c =>
        {
            c.mov(rax, 0x1234_5678_9ABC_DEF0);
            c.mov(r8, rax);
            c.push(Code32);
            c.mov(ecx, (int)Code + 0x2000);
            c.push(rcx);
            c.mov(__dword_ptr[rsp + 4], Code32);
            c.jmp(__fword_ptr[rsp]);
        }, bits: 64);

        at = m.Write(Code + 0x2000, c =>
        {
            c.mov(edx, eax);
            c.inc(edx);
            c.push(edx);
            c.pop(ebx);
        }, bits: 32);
        m.WriteBytes(at, FarJump((uint)Code + 0x3000, Code64));
        m.Write(Code + 0x3000, c =>
        {
            c.mov(r9, r8);
            c.hlt();
        }, bits: 64);

        m.RunToEnd();
        Assert.Equal(0x1234_5678_9ABC_DEF0u, m.State.Gpr[9]);
        Assert.Equal(0x9ABC_DEF1u, m.Rbx);
        Assert.Equal(0x11u, m.Memory.Read<uint>(Stack - 4));
        Assert.Equal(0x22u, m.Memory.Read<uint>(Stack - 8));
        Assert.Equal(EferBits.Lme | EferBits.Lma, m.State.Efer & (EferBits.Lme | EferBits.Lma));
    }

    [Fact]
    public void FarCallsAndReturnsBetweenCodeSizes()
    {
        using SnippetMachine m = Long();
        m.Memory.Write(Data, (uint)Code + 0x1000);
        m.Memory.Write(Data + 4, Code32);
        m.Rbx = Data;
        m.Write(c =>
        {
            c.call(__fword_ptr[rbx]);
            c.mov(rdx, rsp);
            c.hlt();
        });
        m.Write(Code + 0x1000, c =>
        {
            c.mov(eax, __dword_ptr[esp]);
            c.mov(ecx, __dword_ptr[esp + 4]);
            c.retf();
        }, bits: 32);
        m.RunToEnd();
        Assert.Equal(Code + 2, m.Rax);
        Assert.Equal(Code64, m.Rcx);
        Assert.Equal(Stack, m.Rdx);
    }

    [Fact]
    public void SyscallAndSysretCrossTheRings()
    {
        using SnippetMachine m = Long(cpl: 3);
        m.State.Msrs[0xC000_0081] = ((ulong)Code32 << 32) | (0x20ul << 48);
        m.State.Msrs[0xC000_0082] = 0x6000;
        m.State.Msrs[0xC000_0084] = 0x200;
        m.SetDescriptor(0x08, 0x00AF_9B00_0000_FFFF);
        m.State.Rflags |= 0x200;
        m.State.Gpr[10] = 3;
        m.Write(0x6000, c =>
        {
            c.pushfq();
            c.pop(rdx);
            c.add(rax, 1);
            c.sysretq();
        });
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.mov(rsp, UserStack);
            c.Label(ref again);
            c.syscall();
            c.dec(r10d);
            c.jne(again);
            c.@int(EndVector);
        });
        m.Fill(0x1E000, 0x10, 0);
        Stop stop = m.Run();
        AssertEnd(stop);
        Assert.Equal(3u, m.Rax);
        Assert.Equal(0u, m.Rdx & 0x200);
        Assert.Equal((UserCode64, 0x200ul), (stop.Cs, stop.Rflags & 0x200));
    }

    [Fact]
    public void TheSameBytesAreOtherInstructionsInAnotherMode()
    {
        // 48 FF C0: inc rax in 64-bit code; dec eax, inc eax in 32-bit code.
        using SnippetMachine m = Long();
        m.WriteBytes(Code + 0x1000, 0x48, 0xFF, 0xC0, 0xCB);
        m.Memory.Write(Data, (uint)Code + 0x1000);
        m.Memory.Write(Data + 4, Code32);
        m.Memory.Write(Data + 8, (uint)Code + 0x1000);
        m.Memory.Write(Data + 12, Code64);
        m.Rax = uint.MaxValue;
        m.Rbx = Data;
        m.Write(c =>
        {
            c.call(__fword_ptr[rbx]);
            c.mov(rcx, rax);
            c.call(__fword_ptr[rbx + 8]);
            c.call(__fword_ptr[rbx]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(uint.MaxValue, m.Rcx);
        Assert.Equal(0u, (uint)m.Rax);
    }

    [Fact]
    public void Virtual8086ModeRunsAndLeavesByAnInterrupt()
    {
        using SnippetMachine m = Protected(cpl: 3);
        for (int i = 0; i < 6; i++)
        {
            m.State.Segments[i] = new SegmentRegister { Base = 0x2_0000, Selector = 0x2000, Limit = 0xFFFF, Attributes = 0xF3 };
        }

        m.State.Rflags = 2 | (1 << 17) | (3 << 12);
        m.State.Rip = 0;
        m.Rsp = 0x8000;
        m.WriteBytes(Code, 0xB8, 0x34, 0x12, 0x50, 0x5B, 0xA3, 0x00, 0x40, 0xCD, 0x30);   // mov ax; push; pop bx; mov [4000h], ax; int 30h
        Stop stop = m.RunToFault(0x30);
        Assert.Equal((10ul, (ushort)0x2000), (stop.Rip, stop.Cs));
        Assert.Equal(0x1234u, m.Rbx);
        Assert.Equal(0x1234, m.Memory.Read<ushort>(Code + 0x4000));
        Assert.Equal(0ul, m.State.Rflags & (1 << 17));
    }
}
