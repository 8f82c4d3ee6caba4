using Iced.Intel;
using Vivarium.Engine.Tests.Snippets;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Smp.SmpMachine;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>
/// Flags that the processor sets in tables while other processors change the same entries (SDM vol. 3A, 4.8 and 3.4.5.1):
/// it sets them by locked cycles, so that neither side loses what it wrote.
/// </summary>
[Collection(SmpCollection.Name)]
public sealed class AccessedDirtyTests
{
    private const ulong Linear = 0x20_0000;
    private const ulong Frame = Shared + 0x8000;
    private const ulong Done = Shared + 0x1000;
    private const int Count = 30_000;
    private static readonly TimeSpan Enough = TimeSpan.FromMilliseconds(300);

    /// <summary>One vCPU makes the processor set flags of an entry, again and again, while another changes bits that only software uses.</summary>
    [Theory]
    [InlineData(12, false)]
    [InlineData(12, true)]
    [InlineData(21, true)]
    [InlineData(30, false)]
    [InlineData(39, false)]
    public void SoftwareBitsOfAnEntrySurvive(int level, bool write)
    {
        using var m = new SmpMachine(2);
        ulong entry = Map(m, level);
        sbyte flags = (sbyte)(write ? PageTables.A | PageTables.D : PageTables.A);
        m.Cpus[0].Write(c => c.Until(Done, Count, part =>
        {
            part.@lock.and(__byte_ptr[entry], unchecked((sbyte)~0x60));
            part.invlpg(__byte_ptr[Linear]);
            if (write)
            {
                part.mov(__byte_ptr[Linear], al);
            }
            else
            {
                part.mov(al, __byte_ptr[Linear]);
            }

            part.mov(al, __byte_ptr[entry]);
            part.and(al, flags);
            part.cmp(al, flags);
            part.FailIfNotEqual();
        }));
        m.Cpus[1].Write(c => c.Repeat(Count, part =>
        {
            // Bits that the processor ignores.
            foreach (byte bit in new byte[] { 9, 10, 52 })
            {
                part.@lock.bts(__qword_ptr[entry], bit);
                Fails(part, part.jae);
                part.@lock.btr(__qword_ptr[entry], bit);
                Fails(part, part.jb);
            }

            part.mov(__qword_ptr[Done], r8);
        }));
        m.Run(Enough);
    }

    /// <summary>A write sets D at once; that a page was written is never forgotten, whoever swaps its entry at the same time.</summary>
    [Fact]
    public void ADirtyFlagIsNeverLost()
    {
        using var m = new SmpMachine(2);
        ulong entry = Map(m, 12);
        m.Cpus[0].Write(c => c.Until(Done, Count, part =>
        {
            // Write, with D clear and no translation kept: D must be set afterwards, whatever the other toggles.
            part.@lock.btr(__qword_ptr[entry], 6);
            part.invlpg(__byte_ptr[Linear]);
            part.inc(__byte_ptr[Linear]);
            part.bt(__qword_ptr[entry], 6);
            Fails(part, part.jb);
        }));
        m.Cpus[1].Write(c => c.Repeat(Count, part =>
        {
            Label retry = part.CreateLabel();
            part.mov(rax, __qword_ptr[entry]);
            part.Label(ref retry);
            part.mov(rcx, rax);
            part.xor(rcx, 0x200);
            part.@lock.cmpxchg(__qword_ptr[entry], rcx);
            part.jne(retry);
            part.mov(__qword_ptr[Done], r8);
        }));
        m.Run(Enough);
    }

    /// <summary>
    /// A kernel takes an entry away by XCHG, and believes the flags that it gets: a write at the same time either set D in
    /// what was taken, or faults. That holds too for a writer that has read the page before and knows its translation.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AnEntryTakenAwayTellsOfAllWrites(bool known)
    {
        const int rounds = 60_000;
        using var m = new SmpMachine(2);
        ulong entry = Map(m, 12);
        SmpCpu writer = m.Cpus[0];
        ulong handler = writer.Code + 0x1000;
        m.Base.SetGate(14, handler);
        m.Base.Write(handler, c =>
        {
            // The write did not happen: say so, and go on behind it.
            c.xor(ebx, ebx);
            c.add(rsp, 8);
            c.add(__qword_ptr[rsp], 2);
            c.iretq();
        });
        writer.Rdi = Linear;
        writer.Rbp = Log(0);
        writer.Write(c => c.Rounds(m, 0, rounds, round => OneOfThree(round,
            race =>
            {
                race.mov(ebx, 1);
                race.mov(__dword_ptr[rdi], ecx);
                race.mov(__byte_ptr[rbp + r8], bl);
            },
            restore => restore.nop(),
            prepare =>
            {
                prepare.invlpg(__byte_ptr[rdi]);
                if (known)
                {
                    prepare.mov(eax, __dword_ptr[rdi]);
                }
            })));
        m.Cpus[1].Rbp = Log(1);
        m.Cpus[1].Rbx = Frame | PageTables.P | PageTables.Rw;
        m.Cpus[1].Write(c => c.Rounds(m, 1, rounds, round => OneOfThree(round,
            race =>
            {
                Label wait = race.CreateLabel();
                race.mov(ecx, r8d);
                race.and(ecx, 63);
                race.Label(ref wait);
                race.dec(ecx);
                race.jns(wait);
                race.xor(eax, eax);
                race.xchg(__qword_ptr[entry], rax);
                race.shr(eax, 6);
                race.and(eax, 1);
                race.mov(__byte_ptr[rbp + r8], al);
            },
            restore => restore.mov(__qword_ptr[entry], rbx),
            prepare => prepare.nop())));
        m.Run(Enough, enough: () => Rendezvous.Completed(m) > 100);
        ulong completed = Rendezvous.Completed(m);
        for (ulong round = 3; round <= completed; round += 3)
        {
            byte written = m.Memory.Read<byte>(Log(0) + round);
            byte dirty = m.Memory.Read<byte>(Log(1) + round);
            Assert.True(written == dirty, $"round {round}: written {written}, but D was {dirty} in the entry that was taken");
        }
    }

    /// <summary>Does another thing in every third round: the first in those that three divides.</summary>
    private static void OneOfThree(Assembler c, Action<Assembler> zero, Action<Assembler> one, Action<Assembler> two)
    {
        Label isOne = c.CreateLabel();
        Label isTwo = c.CreateLabel();
        Label next = c.CreateLabel();
        c.mov(eax, r8d);
        c.xor(edx, edx);
        c.mov(ecx, 3);
        c.div(ecx);
        c.cmp(edx, 1);
        c.je(isOne);
        c.ja(isTwo);
        zero(c);
        c.jmp(next);
        c.Label(ref isOne);
        one(c);
        c.jmp(next);
        c.Label(ref isTwo);
        two(c);
        c.Label(ref next);
        c.nop();
    }

    /// <summary>Loading a segment register sets the descriptor's accessed flag, while another vCPU changes the same descriptor's other bits.</summary>
    [Fact]
    public void ADescriptorsOtherBitsSurvive()
    {
        const ushort selector = SnippetMachine.Free;
        ulong descriptor = SnippetMachine.Gdt + selector;
        using var m = new SmpMachine(2);
        m.Base.SetDescriptor(selector, 0x00CF_9200_0000_FFFF);
        m.Cpus[0].Rax = selector;
        m.Cpus[0].Write(c => c.Until(Done, Count, part =>
        {
            part.@lock.btr(__qword_ptr[descriptor], 40);
            part.mov(es, eax);
            part.bt(__qword_ptr[descriptor], 40);
            Fails(part, part.jb);
        }));
        m.Cpus[1].Write(c => c.Repeat(Count, part =>
        {
            // Bit 52 (AVL) and the base are software's to change.
            foreach (byte bit in new byte[] { 52, 20, 33 })
            {
                part.@lock.bts(__qword_ptr[descriptor], bit);
                Fails(part, part.jae);
                part.@lock.btr(__qword_ptr[descriptor], bit);
                Fails(part, part.jb);
            }

            part.mov(__qword_ptr[Done], r8);
        }));
        m.Run(Enough);
    }

    private static ulong Map(SmpMachine m, int level)
    {
        if (level == 21)
        {
            m.Pages.MapLarge(Linear, 0, 21, PageTables.P | PageTables.Rw);
        }
        else
        {
            m.Pages.Map(Linear, Frame, PageTables.P | PageTables.Rw);
        }

        return m.Pages.Entry(Linear, level);
    }

    /// <summary>#UD unless the conditional jump is taken.</summary>
    private static void Fails(Assembler c, Action<Label> unless)
    {
        Label good = c.CreateLabel();
        unless(good);
        c.ud2();
        c.Label(ref good);
    }
}
