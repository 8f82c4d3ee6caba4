using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>What a guest may rely on after it changed its page tables (SDM vol. 3A, 4.10).</summary>
public sealed class TlbRuleTests
{
    private const ulong Old = Data;
    private const ulong New = Data + 0x1000;

    /// <summary>A machine whose spare page is <see cref="Old"/>; RSI = the page, RBX = its entry, RDX = an entry for <see cref="New"/>.</summary>
    private static SnippetMachine Remapping(ulong flags = P | Rw)
    {
        SnippetMachine m = Long();
        m.Pages.Map(Spare, Old, flags);
        m.Memory.Write(Old, 0x0101_0101u);
        m.Memory.Write(New, 0x0202_0202u);
        m.Rsi = Spare;
        m.Rbx = m.Pages.Entry(Spare, 12);
        m.Rdx = New | flags;
        return m;
    }

    [Fact]
    public void InvlpgMakesTheNewMappingSeen()
    {
        using SnippetMachine m = Remapping();
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.mov(__dword_ptr[rsi + 4], eax);
            c.mov(__qword_ptr[rbx], rdx);
            c.invlpg(__byte_ptr[rsi + 0x800]);
            c.mov(ecx, __dword_ptr[rsi]);
            c.mov(__dword_ptr[rsi + 8], ecx);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x0101_0101u, m.Rax);
        Assert.Equal(0x0202_0202u, m.Rcx);
        Assert.Equal(0x0202_0202u, m.Memory.Read<uint>(New + 8));
    }

    [Fact]
    public void WritingCr3MakesTheNewMappingSeen()
    {
        using SnippetMachine m = Remapping();
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.mov(__qword_ptr[rbx], rdx);
            c.mov(rdi, cr3);
            c.mov(cr3, rdi);
            c.mov(ecx, __dword_ptr[rsi]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x0202_0202u, m.Rcx);
    }

    [Fact]
    public void GlobalPagesGoWhenPgeChanges()
    {
        using SnippetMachine m = Remapping(P | Rw | G);
        m.State.Cr4 |= Cr4Bits.Pge;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.mov(__qword_ptr[rbx], rdx);
            c.mov(rdi, cr4);
            c.btr(rdi, 7);
            c.mov(cr4, rdi);
            c.mov(ecx, __dword_ptr[rsi]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x0202_0202u, m.Rcx);
    }

    [Fact]
    public void ClearingPagingAndSettingItAgainFlushes()
    {
        using SnippetMachine m = Protected(paging: PagingMode.Bits32);
        m.Pages.Map(Spare, Old);
        m.Memory.Write(Old, 1u);
        m.Memory.Write(New, 2u);
        m.Memory.Write(Spare, 3u);
        m.Rsi = Spare;
        m.Rbx = m.Pages.Entry(Spare, 12);
        m.Rdx = New | P | Rw;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[esi]);
            c.mov(__dword_ptr[ebx], edx);
            c.mov(edi, cr0);
            c.btr(edi, 31);
            c.mov(cr0, edi);
            c.mov(ebp, __dword_ptr[esi]);
            c.bts(edi, 31);
            c.mov(cr0, edi);
            c.mov(ecx, __dword_ptr[esi]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(1u, m.Rax);
        Assert.Equal(3u, m.Rbp);
        Assert.Equal(2u, m.Rcx);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void InvpcidOfEveryTypeDropsAPlainPage(int type)
    {
        using SnippetMachine m = Remapping();
        if (!m.Has(CpuFeature.Invpcid))
        {
            Assert.Skip("The host has no INVPCID.");
        }

        m.State.Cr4 |= Cr4Bits.Pcide;
        m.State.Cr3 |= 5;
        m.Memory.Write(Data + 0x2000, 5ul);
        m.Memory.Write(Data + 0x2008, Spare);
        m.State.Gpr[8] = Data + 0x2000;
        m.State.Gpr[9] = (ulong)type;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.mov(__qword_ptr[rbx], rdx);
            c.invpcid(r9, __xmmword_ptr[r8]);
            c.mov(ecx, __dword_ptr[rsi]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x0202_0202u, m.Rcx);
    }

    [Fact]
    public void PcidsKeepAddressSpacesApart()
    {
        using SnippetMachine m = Remapping();
        var other = new PageTables(m.Memory, PagingMode.FourLevel, Tables + 0x2_0000);
        for (ulong page = 0; page < IdentityEnd; page += 0x1000)
        {
            other.Map(page, page, P | Rw);
        }

        other.Map(Spare, New, P | Rw);
        m.State.Cr4 |= Cr4Bits.Pcide;
        m.State.Gpr[8] = m.Pages.Root | 1;
        m.State.Gpr[9] = other.Root | 2 | (1ul << 63);
        m.State.Gpr[10] = m.Pages.Root | 1 | (1ul << 63);
        m.State.Cr3 = m.Pages.Root | 1;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.mov(cr3, r9);
            c.mov(ecx, __dword_ptr[rsi]);
            c.mov(cr3, r10);
            c.mov(edx, __dword_ptr[rsi]);
            c.mov(cr3, r9);
            c.mov(edi, __dword_ptr[rsi]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((0x0101_0101u, 0x0202_0202u, 0x0101_0101u, 0x0202_0202u), ((uint)m.Rax, (uint)m.Rcx, (uint)m.Rdx, (uint)m.Rdi));
    }

    [Fact]
    public void MorePermissionNeedsNoFlush()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Old, P | Xd);
        m.Memory.Write(Old, (byte)0xC3);
        m.Rsi = Spare;
        m.Rbx = m.Pages.Entry(Spare, 12);
        m.Rdx = Old | P | Rw;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.mov(__qword_ptr[rbx], rdx);
            c.mov(__dword_ptr[rsi + 8], 7);
            c.call(rsi);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(7u, m.Memory.Read<uint>(Old + 8));
    }

    [Fact]
    public void APageThatAppearsNeedsNoFlush()
    {
        using SnippetMachine m = Remapping();
        m.Pages.Unmap(Spare);
        m.SetGate(14, Code + 0x100);
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.hlt();
        });
        m.Write(Code + 0x100, c =>
        {
            c.mov(__qword_ptr[rbx], rdx);
            c.add(rsp, 8);
            c.iretq();
        });
        m.RunToEnd();
        Assert.Equal(0x0202_0202u, m.Rax);
    }

    /// <summary>Two pages of code, each setting EAX to its number and returning; a direct jump leads into the spare page.</summary>
    private static SnippetMachine Chained(ulong flags = P | Rw)
    {
        SnippetMachine m = Remapping(flags);
        m.Write(Spare, c =>
        {
            c.mov(eax, 1);
            c.ret();
        }, physical: Old);
        m.Write(Spare, c =>
        {
            c.mov(eax, 2);
            c.ret();
        }, physical: New);
        m.Write(Code + 0x1000, c => c.jmp(Spare));
        return m;
    }

    public static TheoryData<string> Flushes => ["invlpg", "cr3"];

    [Theory]
    [MemberData(nameof(Flushes))]
    public void AChainedJumpGoesToWhatIsMappedNow(string flush)
    {
        using SnippetMachine m = Chained();
        m.State.Gpr[8] = 5;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.call(Code + 0x1000);
            c.dec(r8d);
            c.jne(again);
            c.mov(ecx, eax);
            c.mov(__qword_ptr[rbx], rdx);
            if (flush == "invlpg")
            {
                c.invlpg(__byte_ptr[rsi]);
            }
            else
            {
                c.mov(rdi, cr3);
                c.mov(cr3, rdi);
            }

            c.call(Code + 0x1000);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(1u, m.Rcx);
        Assert.Equal(2u, m.Rax);
    }

    [Fact]
    public void AChainedJumpIntoAPageThatIsGoneFaults()
    {
        using SnippetMachine m = Chained();
        m.Rdx = 0;
        m.Write(c =>
        {
            c.call(Code + 0x1000);
            c.call(Code + 0x1000);
            c.mov(__qword_ptr[rbx], rdx);
            c.invlpg(__byte_ptr[rsi]);
            c.call(Code + 0x1000);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(Spare, stop.Rip);
        Assert.Equal(0x10u, stop.ErrorCode);
    }

    [Fact]
    public void CodeIsRunByItsLinearAddressNotByItsFrame()
    {
        // The same frame twice: CALL pushes what the linear address says.
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Old);
        m.Pages.Map(Spare + 0x1000, Old);
        m.Write(Spare, c =>
        {
            var here = c.CreateLabel();
            c.call(here);
            c.Label(ref here);
            c.pop(rax);
            c.ret();
        }, physical: Old);
        m.Rsi = Spare;
        m.Rdi = Spare + 0x1000;
        m.Write(c =>
        {
            c.call(rsi);
            c.mov(rcx, rax);
            c.call(rdi);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(Spare + 5, m.Rcx);
        Assert.Equal(Spare + 0x1005, m.Rax);
    }

    [Fact]
    public void TheSameLinearAddressInTwoAddressSpacesIsTwoPrograms()
    {
        using SnippetMachine m = Chained();
        var other = new PageTables(m.Memory, PagingMode.FourLevel, Tables + 0x2_0000);
        for (ulong page = 0; page < IdentityEnd; page += 0x1000)
        {
            other.Map(page, page, P | Rw);
        }

        other.Map(Spare, New, P | Rw);
        m.State.Gpr[8] = m.Pages.Root;
        m.State.Gpr[9] = other.Root;
        m.State.Gpr[10] = 20;
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.Label(ref again);
            c.mov(cr3, r9);
            c.call(Code + 0x1000);
            c.add(r11d, eax);
            c.mov(cr3, r8);
            c.call(Code + 0x1000);
            c.shl(eax, 8);
            c.add(r11d, eax);
            c.dec(r10d);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((20u << 8) + 40u, m.State.Gpr[11]);
    }

    [Fact]
    public void GlobalCodeStaysRightAcrossAddressSpaces()
    {
        // Kernel code in global pages jumps into a page that each address space has for itself.
        using SnippetMachine m = Chained();
        var other = new PageTables(m.Memory, PagingMode.FourLevel, Tables + 0x2_0000);
        m.State.Cr4 |= Cr4Bits.Pge;
        for (ulong page = 0; page < IdentityEnd; page += 0x1000)
        {
            m.Pages.Map(page, page, P | Rw | G);
            other.Map(page, page, P | Rw | G);
        }

        other.Map(Spare, New, P | Rw);
        m.State.Gpr[8] = m.Pages.Root;
        m.State.Gpr[9] = other.Root;
        m.Write(c =>
        {
            c.call(Code + 0x1000);
            c.mov(r11d, eax);
            c.mov(cr3, r9);
            c.call(Code + 0x1000);
            c.shl(eax, 4);
            c.or(r11d, eax);
            c.mov(cr3, r8);
            c.call(Code + 0x1000);
            c.shl(eax, 8);
            c.or(r11d, eax);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x121u, m.State.Gpr[11]);
    }
}
