using Iced.Intel;
using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Data that shares a page with code, and the borders between the two.</summary>
public sealed class BesideCodeTests
{
    private const int Rounds = 200;

    /// <summary>A function that is called all the time, at the beginning of a granule in the middle of a page.</summary>
    private const ulong Function = SnippetMachine.Code + 0x1800;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    [InlineData(16)]
    public void WritesOfAllSizesUpToTheCodeAreKeptAndTheCodeStays(int size)
    {
        using SnippetMachine m = Machine();
        m.Write(c => Loop(c, part =>
        {
            part.movd(xmm0, ecx);
            Store(part, (long)Function - size, size);
            Store(part, (long)Function - 64, size);
            Store(part, (long)Function + 64, size);
        }));
        m.RunToEnd();
        AssertCalled(m, 1);
        foreach (ulong at in new[] { Function - (ulong)size, Function - 64, Function + 64 })
        {
            Assert.Equal(1, m.Memory.Read<byte>(at));
        }

        if (TestOptions.Engine.Has(Optimizations.BesideCode))
        {
            Assert.InRange(m.Cpu.Statistics.TlbMisses, 1, Rounds);
        }
    }

    /// <summary>The store's last byte is the constant of the function's first instruction.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    [InlineData(16)]
    public void AWriteThatReachesIntoTheCodeChangesIt(int size)
    {
        using SnippetMachine m = Machine();
        ulong at = Function + 2 - (ulong)size;
        m.Memory.Write(Data, new byte[16]);
        m.Memory.Write(Data + (ulong)size - 2, [0xB8, 7]);
        m.Rsi = Data;
        m.Write(c =>
        {
            Loop(c, part => { }, end: false);
            c.movdqu(xmm0, __xmmword_ptr[rsi]);
            c.mov(rax, __qword_ptr[rsi]);
            Store(c, (long)at, size, rax);
            c.call(Function);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(7u, m.Rax);
    }

    [Fact]
    public void AWriteOverAPageBorderChangesTheCodeBehindIt()
    {
        using SnippetMachine m = Long();
        const ulong second = SnippetMachine.Code + 0x2000;
        m.WriteBytes(second, 0xB8, 1, 0, 0, 0, 0xC3);
        m.Write(c =>
        {
            Label again = c.CreateLabel();
            c.mov(ecx, Rounds);
            c.Label(ref again);
            c.mov(eax, ecx);
            c.shl(rax, 40);
            c.mov(rbx, 0xB8_0000_0000);
            c.or(rax, rbx);
            c.mov(__qword_ptr[second - 4], rax);
            c.call(second);
            c.xor(eax, ecx);
            c.or(edx, eax);
            c.dec(ecx);
            c.jne(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0u, m.Rdx);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void StringInstructionsBesideAndOverCodeAreExact(bool over)
    {
        using SnippetMachine m = Machine();
        m.Memory.Write(Data, [0xB8, 9, 0, 0, 0, 0xC3]);
        m.Write(c => Loop(c, part =>
        {
            part.mov(r9d, ecx);
            part.mov(esi, (int)Data);
            part.mov(edi, (int)(over ? Function : Function - 64));
            part.mov(ecx, 6);
            part.rep.movsb();
            part.mov(ecx, 58);
            part.mov(eax, r9d);
            part.rep.stosb();
            part.mov(ecx, r9d);
        }));
        m.RunToEnd();
        AssertCalled(m, over ? 9u : 1u);
        Assert.Equal(1, m.Memory.Read<byte>(over ? Function + 63 : Function - 1));
    }

    /// <summary>Locked operations beside the code, and on bytes of the code's own granule that were never run.</summary>
    [Theory]
    [InlineData(-8)]
    [InlineData(32)]
    [InlineData(60)]
    public void LockedOperationsBesideCodeAreDone(int distance)
    {
        using SnippetMachine m = Machine();
        long at = (long)Function + distance;
        m.Write(c => Loop(c, part => part.@lock.add(__qword_ptr[at], rcx)));
        m.RunToEnd();
        AssertCalled(m, 1);
        Assert.Equal(Rounds * (Rounds + 1ul) / 2, m.Memory.Read<ulong>((ulong)at));
    }

    /// <summary>The page's code is overwritten by data piece by piece; then data is all there is, and later there is code again.</summary>
    [Fact]
    public void APageOfCodeBecomesDataAndCodeAgain()
    {
        using SnippetMachine m = Long();
        const ulong page = SnippetMachine.Code + 0x1000;
        for (ulong at = page; at < page + 0x1000; at += 64)
        {
            m.WriteBytes(at, 0x83, 0xC2, 1, 0xC3); // add edx, 1; ret
        }

        m.Write(c =>
        {
            Label call = c.CreateLabel();
            Label write = c.CreateLabel();
            Label check = c.CreateLabel();
            c.mov(rdi, page);
            c.Label(ref call);
            c.call(rdi);
            c.add(rdi, 64);
            c.cmp(rdi, (int)page + 0x1000);
            c.jb(call);

            c.mov(rdi, page);
            c.Label(ref write);
            c.mov(__dword_ptr[rdi], edi);
            c.add(rdi, 4);
            c.cmp(rdi, (int)page + 0x1000);
            c.jb(write);

            c.mov(rdi, page);
            c.Label(ref check);
            c.mov(eax, __dword_ptr[rdi]);
            c.xor(eax, edi);
            c.or(ebx, eax);
            c.mov(__dword_ptr[rdi], 0xC302C283u);   // add edx, 2; ret
            c.call(rdi);
            c.add(rdi, 4);
            c.cmp(rdi, (int)page + 0x1000);
            c.jb(check);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0u, m.Rbx);
        Assert.Equal(64ul + (2 * 1024), m.Rdx);
    }

    /// <summary>Page by page, writing may be forbidden at any time; INVLPG makes it known.</summary>
    [Fact]
    public void AWriteBesideCodeThatIsForbiddenFaults()
    {
        using SnippetMachine m = Machine();
        m.State.Cr0 |= Cr0Bits.Wp;
        m.Bus.OnPortWrite = _ => m.Pages.Map(Function & ~0xFFFul, Function & ~0xFFFul, PageTables.P);
        ulong faulting = m.Write(c =>
        {
            Loop(c, part => part.mov(__qword_ptr[Function + 64], rcx), end: false);
            c.@out(0x80, al);
            c.invlpg(__byte_ptr[Function]);
        });
        m.Write(faulting, c => c.mov(__qword_ptr[Function + 64], rcx));
        Stop stop = m.RunToFault((int)Vector.PageFault);
        Assert.Equal((faulting, Function + 64), (stop.Rip, m.State.Cr2));
        AssertCalled(m, 1);
    }

    /// <summary>An address that is not canonical, and is that of a page with code but for one bit.</summary>
    [Theory]
    [InlineData(47)]
    [InlineData(62)]
    [InlineData(63)]
    public void AnAddressLikeThatOfAPageWithCodeFaults(int bit)
    {
        using SnippetMachine m = Machine();
        ulong at = Function + 64;
        ulong faulting = m.Write(c =>
        {
            Loop(c, part => part.mov(__qword_ptr[Function + 64], rcx), end: false);
            c.mov(rsi, (at ^ (1ul << bit)) - 8);
            c.mov(eax, 8);
        });
        m.Write(faulting, c => c.mov(__qword_ptr[rsi + rax], rcx));
        Stop stop = m.RunToFault((int)Vector.GeneralProtection);
        Assert.Equal(faulting, stop.Rip);
        Assert.Equal(1ul, m.Memory.Read<ulong>(at));
    }

    private static SnippetMachine Machine()
    {
        SnippetMachine m = Long();
        m.WriteBytes(Function, 0xB8, 1, 0, 0, 0, 0xC3); // mov eax, 1; ret
        return m;
    }

    /// <summary>Counts ECX down; each time does something and adds what the function returns to EDX.</summary>
    private static void Loop(Assembler c, Action<Assembler> body, bool end = true)
    {
        Label again = c.CreateLabel();
        c.mov(ecx, Rounds);
        c.Label(ref again);
        body(c);
        c.call(Function);
        c.add(edx, eax);
        c.dec(ecx);
        c.jne(again);
        if (end)
        {
            c.hlt();
        }
    }

    private static void Store(Assembler c, long at, int size) => Store(c, at, size, rcx);

    private static void Store(Assembler c, long at, int size, AssemblerRegister64 register)
    {
        c.mov(rdi, at);
        switch (size)
        {
            case 1:
                c.mov(__byte_ptr[rdi], new AssemblerRegister8(Register.AL + (register.Value - Register.RAX)));
                break;
            case 2:
                c.mov(__word_ptr[rdi], new AssemblerRegister16(Register.AX + (register.Value - Register.RAX)));
                break;
            case 4:
                c.mov(__dword_ptr[rdi], new AssemblerRegister32(Register.EAX + (register.Value - Register.RAX)));
                break;
            case 8:
                c.mov(__qword_ptr[rdi], register);
                break;
            default:
                c.movdqu(__xmmword_ptr[rdi], xmm0);
                break;
        }
    }

    private static void AssertCalled(SnippetMachine m, uint result) => Assert.Equal((ulong)Rounds * result, m.Rdx);
}
