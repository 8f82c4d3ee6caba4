using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Page walks of translated code do what the monitor's do, whatever stands in the paging structures.</summary>
public sealed class PageWalkTests
{
    private const int Cases = 600;
    private const ulong Linear = 0x1234_5678_9000;
    private const ulong UpperLinear = 0xFFFF_9234_5678_9000;
    private const ulong RamSize = 32 << 20;

    /// <summary>Behind the tables of all cases.</summary>
    private const ulong Target = 0x100_0000;
    private const byte Return = 0xC3;

    /// <summary>Reads, writes, and calls what stands there; 600 cases of random entries on all levels, seed 5.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void TranslatedCodeAndMonitorWalkAlike(int cpl)
    {
        using SnippetMachine fast = Create(cpl, TestOptions.Engine);
        using SnippetMachine slow = Create(cpl, TestOptions.Engine with { Optimizations = TestOptions.Engine.Optimizations & ~Optimizations.PageWalks });
        var random = new Random(5);
        int faults = 0;
        for (int i = 0; i < Cases; i++)
        {
            int seed = random.Next();
            string expected = RunCase(slow, cpl, new Random(seed));
            Assert.Equal(expected, RunCase(fast, cpl, new Random(seed)));
            faults += expected.Contains("Vector = 14", StringComparison.Ordinal) ? 1 : 0;
        }

        Assert.InRange(faults, Cases / 20, Cases * 19 / 20);
    }

    private static SnippetMachine Create(int cpl, EngineOptions options)
    {
        SnippetMachine m = Long(cpl, RamSize, options: options);
        m.Fill(Target, 0x40_0000, Return);
        m.Write(c =>
        {
            var write = c.CreateLabel();
            var call = c.CreateLabel();
            var end = c.CreateLabel();
            c.cmp(edi, 1);
            c.je(write);
            c.ja(call);
            c.mov(eax, __dword_ptr[rsi + 8]);
            c.mov(edx, __dword_ptr[rsi + 16]);
            c.jmp(end);
            c.Label(ref write);
            c.mov(__dword_ptr[rsi + 12], ecx);
            c.mov(__dword_ptr[rsi + 20], ecx);
            c.jmp(end);
            c.Label(ref call);
            c.call(rsi);
            c.Label(ref end);
            c.@int(EndVector);
        });
        return m;
    }

    /// <summary>One access through random structures; everything that can be seen of it.</summary>
    private static string RunCase(SnippetMachine m, int cpl, Random random)
    {
        int access = random.Next(3);
        ulong linear = random.Next(2) == 0 ? Linear : UpperLinear;
        int leaf = random.Next(4) switch { 0 => 21, 1 => 30, _ => 12 };
        ulong user = cpl == 3 || random.Next(3) == 0 ? Us : 0;
        int[] shifts = [39, 30, 21, 12];
        var entries = new List<ulong>();
        for (int level = 0; level < 4 && shifts[level] >= leaf; level++)
        {
            bool isLeaf = shifts[level] == leaf;
            ulong frame = isLeaf ? (leaf == 30 ? 0 : Target) : m.Pages.Entry(linear, shifts[level + 1]) & ~0xFFFul;
            ulong value = frame | P | Rw | A | user | (isLeaf && leaf != 12 ? Ps : 0) | (isLeaf && random.Next(2) == 0 ? D : 0) | (isLeaf && random.Next(3) == 0 ? G : 0);
            if (random.Next(4) == 0)
            {
                // The last is no memory, where nothing can run.
                ulong[] flaws = [P, Rw, Us, A, Xd, 1ul << 50, 1ul << 62, 1ul << 13, 1ul << 12, 1ul << 32];
                value ^= flaws[random.Next(flaws.Length - (access == 2 ? 1 : 0))];
            }

            entries.Add(m.Pages.Entry(linear, shifts[level]));
            m.Pages.Write(entries[^1], value);

            // What is not present any more would be made anew.
            if ((value & P) == 0 || (value & ~0xFFFul & 0xF_FFFF_FFFF_F000) != frame)
            {
                break;
            }
        }

        CpuState state = m.State;
        state.Cr0 = (state.Cr0 & ~Cr0Bits.Wp) | (random.Next(2) == 0 ? Cr0Bits.Wp : 0);
        ulong bits = (random.Next(2) == 0 ? Cr4Bits.Pge : 0) | (cpl == 0 && random.Next(2) == 0 ? Cr4Bits.Smap : 0);
        state.Cr4 = (state.Cr4 & ~(Cr4Bits.Pge | Cr4Bits.Smap)) | bits;
        state.Efer = (state.Efer & ~EferBits.Nxe) | (random.Next(2) == 0 ? EferBits.Nxe : 0);
        state.Cr2 = 0;
        state.Rip = Code;
        state.Rflags = 2;
        state.Halted = false;
        m.Load(1, cpl == 0 ? Code64 : UserCode64);
        m.Load(2, cpl == 0 ? Data32 : UserData32);
        m.Rsp = cpl == 0 ? Stack : UserStack;
        m.Rax = m.Rdx = 0;
        m.Rcx = (uint)random.Next();
        m.Rsi = linear + (leaf == 30 ? Target - (linear & 0x3FFF_F000) : 0);
        m.Rdi = (ulong)access;
        Stop stop = m.Run();
        string seen = $"{stop} rax={m.Rax:x} rdx={m.Rdx:x} cr2={state.Cr2:x} leaf={leaf} "
            + $"written={m.Memory.Read<ulong>(Target + 8):x} {m.Memory.Read<ulong>(Target + 16):x}";
        foreach (ulong entry in entries)
        {
            seen += $" {m.Pages.Read(entry):x}";
        }

        // The next case has structures of its own.
        m.Pages.Write(entries[0], 0);
        return seen;
    }

    /// <summary>A piece of a large page that translated code found itself goes with any address in that page.</summary>
    [Theory]
    [InlineData(21)]
    [InlineData(30)]
    public void InvlpgDropsAllPiecesOfALargePage(int shift)
    {
        using SnippetMachine m = Long(0, ramSize: RamSize);
        ulong page = shift == 30 ? 0x40_0000_0000 : Linear & ~0x1F_FFFFul;
        m.Pages.MapLarge(page, 0, shift, P | Rw | A | D);
        m.Memory.Write(0x5_0000, 0x0101_0101u);
        m.Memory.Write(0x5_0000 + 0x60_0000, 0x0202_0202u);

        // RDI = tables that map other memory there by 4 KiB pages.
        ulong old = m.Pages.Read(m.Pages.Entry(page, shift));
        m.Pages.Write(m.Pages.Entry(page, shift), 0);
        m.Pages.Map(page + 0x5_0000, 0x5_0000 + 0x60_0000, P | Rw | A | D);
        m.Rdi = m.Pages.Read(m.Pages.Entry(page, shift)) | A;
        m.Pages.Write(m.Pages.Entry(page, shift), old);
        m.Rbx = m.Pages.Entry(page, shift);
        m.Rsi = page + 0x5_0000;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[rsi]);
            c.mov(__qword_ptr[rbx], rdi);
            c.invlpg(__byte_ptr[rsi + 0x1_0000]);
            c.mov(ecx, __dword_ptr[rsi]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((0x0101_0101ul, 0x0202_0202ul), (m.Rax, m.Rcx));
    }
}
