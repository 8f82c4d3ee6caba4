using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Rights that change while translations and TLBs are warm.</summary>
public sealed class PrivilegeTests
{
    [Fact]
    public void WhatTheSupervisorTouchedIsStillNotTheUsers()
    {
        using SnippetMachine m = Long(cpl: 3);
        m.Pages.Map(Spare, Data, P | Rw);
        m.Rbx = Spare;
        m.SetGate(0x30, 0x6000);
        m.Write(0x6000, c =>
        {
            c.mov(__dword_ptr[rbx], 0x11);
            c.mov(eax, __dword_ptr[rbx]);
            c.iretq();
        });
        ulong touch = m.Write(c => c.@int(0x30));
        m.Write(touch, c => c.mov(eax, __dword_ptr[rbx]));
        Stop stop = m.RunToFault(14);
        Assert.Equal((touch, 5u), (stop.Rip, stop.ErrorCode));
        Assert.Equal(0x11u, m.Rax);
    }

    [Fact]
    public void TurningSmapOnCountsForPagesInTheTlb()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data);
        m.Rbx = Spare;
        ulong touch = m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rbx]);
            c.mov(__dword_ptr[rbx], eax);
            c.mov(rcx, cr4);
            c.bts(rcx, 21);
            c.mov(cr4, rcx);
        });
        m.Write(touch, c => c.mov(eax, __dword_ptr[rbx]));
        Stop stop = m.RunToFault(14);
        Assert.Equal((touch, 1u), (stop.Rip, stop.ErrorCode));
    }

    [Fact]
    public void TurningSmepOnCountsForCodeAlreadyRun()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data);
        m.WriteBytes(Data, 0xC3);
        m.Rbx = Spare;
        m.Write(c =>
        {
            c.call(rbx);
            c.call(rbx);
            c.mov(rcx, cr4);
            c.bts(rcx, 20);
            c.mov(cr4, rcx);
            c.call(rbx);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal((Spare, 0x11u), (stop.Rip, stop.ErrorCode));
    }

    [Fact]
    public void RightsOfEveryLevelCount()
    {
        foreach ((int level, ulong cleared, ulong set, bool fetch, uint error) in new[]
        {
            (21, Rw, 0ul, false, 3u), (30, Rw, 0ul, false, 3u), (39, Rw, 0ul, false, 3u), (21, 0ul, Xd, true, 0x11u), (30, 0ul, Xd, true, 0x11u),
        })
        {
            using SnippetMachine m = Long();
            ulong linear = 0x0000_1234_4000_0000;
            m.Pages.Map(linear, Data);
            ulong entry = m.Pages.Entry(linear, level);
            m.Pages.Write(entry, (m.Pages.Read(entry) & ~cleared) | set);
            m.Rbx = linear;
            m.Write(c =>
            {
                c.mov(eax, __dword_ptr[rbx]);
                if (fetch)
                {
                    c.jmp(rbx);
                }
                else
                {
                    c.mov(__dword_ptr[rbx], eax);
                }
            });
            Assert.Equal(error, m.RunToFault(14).ErrorCode);
            Assert.Equal(A, m.Pages.Read(entry) & A);
        }
    }

    [Fact]
    public void FetchingSetsTheAccessedBit()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data, P);
        m.WriteBytes(Data, 0xF4);
        m.State.Rip = Spare;
        m.RunToEnd();
        Assert.Equal(A, m.Pages[Spare] & (A | D));
    }

    [Fact]
    public void ALargePageIsSplit()
    {
        using SnippetMachine m = Long();
        const ulong linear = 0x4000_0000;
        var small = new PageTables(m.Memory, PagingMode.FourLevel, Tables + 0x2_0000);
        for (ulong page = 0; page < 4; page++)
        {
            small.Map(linear + (page << 12), Data + 0x8000 + (page << 12), P | Rw);
        }

        m.Pages.MapLarge(linear, 0x20_0000, 21, P | Rw);
        m.Memory.Write(0x20_1000ul, 1u);
        m.Memory.Write(Data + 0x9000, 2u);
        m.Rsi = linear + 0x1000;
        m.Rbx = m.Pages.Entry(linear, 21);
        m.Rdx = m.Memory.Read<ulong>(small.Entry(linear, 21));
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.mov(__qword_ptr[rbx], rdx);
            c.invlpg(__byte_ptr[rsi - 0x1000]);
            c.mov(ecx, __dword_ptr[rsi]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((1ul, 2ul), (m.Rax, m.Rcx));
    }

    [Fact]
    public void StringsBetweenMemoryAndMmioGoElementByElement()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, MmioGpa);
        m.Rsi = Spare + 8;
        m.Rdi = Data;
        m.Rcx = 3;
        m.Write(c =>
        {
            c.rep.movsd();
            c.mov(rdi, Spare + 0x40);
            c.mov(rsi, Data);
            c.mov(ecx, 2);
            c.rep.movsw();
            c.mov(eax, 0x77);
            c.stosb();
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal([(MmioGpa + 8, 4), (MmioGpa + 12, 4), (MmioGpa + 16, 4)], m.Bus.MmioReads);
        Assert.Equal([(MmioGpa + 0x40, 2, 0x0908ul), (MmioGpa + 0x42, 2, 0x0B0Aul), (MmioGpa + 0x44, 1, 0x77ul)], m.Bus.MmioWrites);
    }

    [Fact]
    public void Cmpxchg16bNeedsAlignment()
    {
        using SnippetMachine m = Long();
        m.Rsi = Data;
        m.Rbx = 0x1111;
        m.Rcx = 0x2222;
        ulong misaligned = m.Write(c =>
        {
            c.@lock.cmpxchg16b(__xmmword_ptr[rsi]);
            c.sete(r8b);
        });
        m.Write(misaligned, c => c.@lock.cmpxchg16b(__xmmword_ptr[rsi + 8]));
        Stop stop = m.RunToFault(13);
        Assert.Equal(misaligned, stop.Rip);
        Assert.Equal((0x1111ul, 0x2222ul, 1ul), (m.Memory.Read<ulong>(Data), m.Memory.Read<ulong>(Data + 8), m.State.Gpr[8]));
    }

    [Fact]
    public void SysenterAndSysexitIn32BitCode()
    {
        using SnippetMachine m = Protected(cpl: 3);
        m.State.Msrs[0x174] = 0x08;
        m.State.Msrs[0x175] = Stack;
        m.State.Msrs[0x176] = 0x6000;
        m.SetDescriptor(0x18, 0x00CF_FB00_0000_FFFF);
        m.SetDescriptor(0x20, 0x00CF_F300_0000_FFFF);
        m.Write(0x6000, c =>
        {
            c.mov(eax, esp);
            c.mov(bx, ss);
            c.mov(edx, (uint)Code + 0x100);
            c.mov(ecx, (uint)UserStack);
            c.sysexit();
        });
        m.Write(c => c.sysenter());
        m.Write(Code + 0x100, c => c.@int(EndVector));
        Stop stop = m.Run();
        AssertEnd(stop);
        Assert.Equal((Stack, 0x10ul, (ushort)0x1B, UserStack), (m.Rax, m.Rbx, stop.Cs, stop.Rsp));
    }

    [Fact]
    public void Cr8IsTheTaskPriority()
    {
        using SnippetMachine m = Long();
        m.Rax = 9;
        m.Write(c =>
        {
            c.mov(cr8, rax);
            c.mov(rcx, cr8);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((9ul, (byte)9), (m.Rcx, m.Bus.TaskPriority));
    }

    [Fact]
    public void PopSsShadowsAndLssDoesNot()
    {
        using SnippetMachine m = Protected();
        m.State.Rflags |= 0x200;
        m.Bus.OnPortWrite = _ =>
        {
            m.Bus.Interrupts.Enqueue(0x40);
            m.Cpu.RequestInterrupt();
        };
        m.Memory.Write(Data, (uint)Stack);
        m.Memory.Write(Data + 4, Data32);
        m.Rbx = Data;
        // cli; out; push ss; sti; pop ss (in STI's shadow); inc eax (in POP SS's); inc eax; hlt
        m.WriteBytes(Code, 0xFA, 0xE6, 0x80, 0x16, 0xFB, 0x17, 0x40, 0x40, 0xF4);
        Stop stop = m.RunToFault(0x40);
        Assert.Equal((Code + 7, 1ul), (stop.Rip, m.Rax));

        using SnippetMachine l = Protected();
        l.Memory.Write(Data, (uint)Stack);
        l.Memory.Write(Data + 4, Data32);
        l.Rbx = Data;
        l.Bus.Interrupts.Enqueue(0x40);
        l.Cpu.RequestInterrupt();
        // sti; lss esp, [ebx] (in STI's shadow); inc eax; hlt
        l.WriteBytes(Code, 0xFB, 0x0F, 0xB2, 0x23, 0x40, 0xF4);
        Assert.Equal(Code + 4, l.RunToFault(0x40).Rip);
    }
}
