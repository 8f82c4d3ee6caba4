using Iced.Intel;
using Vivarium.Engine.Tests.Snippets;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Smp.SmpMachine;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>
/// The order in which vCPUs see each other's loads and stores (SDM vol. 3A, 9.2.3): the usual litmus tests. In those
/// with rounds every store writes a number that belongs to its round, so that a load tells new from old without a reset.
/// </summary>
[Collection(SmpCollection.Name)]
public sealed class MemoryOrderTests
{
    private const ulong X = Shared;
    private const ulong Y = Shared + 0x1000;
    private const int Rounds = 100_000;
    private static readonly TimeSpan Enough = TimeSpan.FromMilliseconds(250);

    /// <summary>What must stand between a store and a later load for the store to be seen first.</summary>
    public static TheoryData<string> Fences => ["mfence", "locked add", "xchg", "cpuid", "iret", "mov cr3", "invlpg", "out"];

    [Fact]
    public void StoresMayPassLaterLoadsWithoutAFence()
    {
        int seen = 0;
        for (int attempt = 0; attempt < 4 && seen == 0; attempt++)
        {
            using var m = new SmpMachine(2);
            seen = StoreBuffering(m, _ => { });
        }

        Assert.SkipWhen(seen == 0, "the host never ran two vCPUs close enough in time for a store to be passed by a load");
    }

    [Theory]
    [MemberData(nameof(Fences))]
    public void StoresDoNotPassLaterLoadsOverAFence(string fence)
    {
        using var m = new SmpMachine(2);
        Assert.Equal(0, StoreBuffering(m, c => Fence(c, fence)));
    }

    [Fact]
    public void StoresByXchgDoNotPassLaterLoads()
    {
        using var m = new SmpMachine(2);
        int seen = Both(m, c => { c.mov(rax, r8); c.xchg(__qword_ptr[rsi], rax); c.mov(rax, __qword_ptr[rdi]); });
        Assert.Equal(0, seen);
    }

    /// <summary>Each stores to its own and loads the other's location; the number of rounds in which both saw the old value.</summary>
    private static int StoreBuffering(SmpMachine m, Action<Assembler> between)
        => Both(m, c =>
        {
            c.mov(__qword_ptr[rsi], r8);
            between(c);
            c.mov(rax, __qword_ptr[rdi]);
        });

    /// <summary>Rounds in which both vCPUs loaded the other's old value. RSI: mine, RDI: the other's.</summary>
    private static int Both(SmpMachine m, Action<Assembler> part)
    {
        m.Memory.Write(X, 0ul);
        m.Memory.Write(Y, 0ul);
        foreach (SmpCpu cpu in m.Cpus)
        {
            (cpu.Rsi, cpu.Rdi) = cpu.Index == 0 ? (X, Y) : (Y, X);
            cpu.Rbp = Log(cpu.Index);
            cpu.State.Rip = cpu.Code;
            cpu.State.Halted = false;
            cpu.Write(c => c.Rounds(m, cpu.Index, Rounds, round =>
            {
                part(round);
                round.mov(__qword_ptr[rbp + (r8 * 8)], rax);
            }));
        }

        RunRounds(m);
        return CountRounds(m, round =>
        {
            ulong first = Logged(m, 0, round);
            ulong second = Logged(m, 1, round);
            Assert.True(first == round || first == round - 1, $"round {round}: vCPU 0 loaded {first}");
            Assert.True(second == round || second == round - 1, $"round {round}: vCPU 1 loaded {second}");
            return first < round && second < round;
        });
    }

    private static void Fence(Assembler c, string fence)
    {
        switch (fence)
        {
            case "mfence":
                c.mfence();
                break;
            case "locked add":
                c.@lock.add(__dword_ptr[rsp - 64], 1);
                break;
            case "xchg":
                c.xchg(__qword_ptr[rsp - 64], rdx);
                break;
            case "cpuid":
                c.xor(eax, eax);
                c.cpuid();
                break;
            case "iret":
                Label next = c.CreateLabel();
                c.mov(rdx, rsp);
                c.push(SnippetMachine.Data32);
                c.push(rdx);
                c.pushfq();
                c.push(SnippetMachine.Code64);
                c.lea(rdx, __qword_ptr[next]);
                c.push(rdx);
                c.iretq();
                c.Label(ref next);
                break;
            case "mov cr3":
                c.mov(rdx, cr3);
                c.mov(cr3, rdx);
                break;
            case "invlpg":
                c.invlpg(__byte_ptr[rsp]);
                break;
            default:
                // An I/O instruction waits until all earlier stores are seen (SDM vol. 3A, 9.2.5 and 9.3).
                c.@out(0x80, al);
                break;
        }
    }

    /// <summary>One vCPU writes a message and then a flag; the other reads the flag and then the message, which may not be older.</summary>
    [Theory]
    [InlineData("mov", 0)]
    [InlineData("mov", 3)]
    [InlineData("mov", 60)]
    [InlineData("mov", 0xFFC)]
    [InlineData("add", 0)]
    [InlineData("push", 0)]
    [InlineData("stosq", 0)]
    [InlineData("rep movsq", 0)]
    [InlineData("movdqu", 0)]
    [InlineData("movdqu", 0xFF9)]
    [InlineData("xchg", 0xFFD)]
    public void AMessageIsThereWhenItsFlagIs(string store, int offset)
    {
        const int count = 40_000;
        ulong message = Shared + 0x2000 + (ulong)offset;
        using var m = new SmpMachine(2);
        m.Cpus[0].Write(c => c.Repeat(count, part =>
        {
            Store(part, store, message);
            part.mov(__qword_ptr[X], r8);
        }));

        // Over a page's end the message is not seen as a whole: its low bytes must do, and count does not need more.
        int whole = Math.Min(8, 0x1000 - (offset & 0xFFF));
        m.Cpus[1].Write(c => c.Until(X, count, part =>
        {
            part.mov(rax, __qword_ptr[X]);
            part.mov(rcx, __qword_ptr[message]);
            if (whole < 8)
            {
                part.and(ecx, whole >= 4 ? -1 : (1 << (whole * 8)) - 1);
            }

            part.cmp(rcx, rax);
            part.FailIfBelow();
        }));
        m.Run(Enough, enough: () => m.Memory.Read<ulong>(X) > 100);
    }

    /// <summary>Writes R8 to a place.</summary>
    private static void Store(Assembler c, string how, ulong place)
    {
        switch (how)
        {
            case "mov":
                c.mov(__qword_ptr[place], r8);
                break;
            case "add":
                c.add(__qword_ptr[place], 1);
                break;
            case "push":
                c.mov(rdx, rsp);
                c.mov(rsp, place + 8);
                c.push(r8);
                c.mov(rsp, rdx);
                break;
            case "stosq":
                c.mov(rax, r8);
                c.mov(rdi, place);
                c.stosq();
                break;
            case "rep movsq":
                c.mov(__qword_ptr[rsp - 8], r8);
                c.lea(rsi, __qword_ptr[rsp - 8]);
                c.mov(rdi, place);
                // One element: of several, a reader may see some and not the others.
                c.mov(ecx, 1);
                c.rep.movsq();
                break;
            case "movdqu":
                c.movq(xmm0, r8);
                c.movdqu(__xmmword_ptr[place], xmm0);
                break;
            default:
                c.mov(rax, r8);
                c.xchg(__qword_ptr[place], rax);
                break;
        }
    }

    /// <summary>Each loads the other's location and then stores to its own: that both loads see the stores of the same round is impossible.</summary>
    [Fact]
    public void LoadsAreNotPassedByLaterStores()
    {
        using var m = new SmpMachine(2);
        foreach (SmpCpu cpu in m.Cpus)
        {
            (ulong mine, ulong other) = cpu.Index == 0 ? (X, Y) : (Y, X);
            cpu.Rbp = Log(cpu.Index);
            cpu.Write(c => c.Rounds(m, cpu.Index, Rounds, round =>
            {
                round.mov(rax, __qword_ptr[other]);
                round.mov(__qword_ptr[mine], r8);
                round.mov(__qword_ptr[rbp + (r8 * 8)], rax);
            }));
        }

        RunRounds(m);
        Assert.Equal(0, CountRounds(m, round => Logged(m, 0, round) == round && Logged(m, 1, round) == round));
    }

    /// <summary>Both store to both locations, in opposite order: the first stores of both cannot both be what remains.</summary>
    [Fact]
    public void StoresAreNotPassedByLaterStores()
    {
        using var m = new SmpMachine(2);
        foreach (SmpCpu cpu in m.Cpus)
        {
            (ulong first, ulong second) = cpu.Index == 0 ? (X, Y) : (Y, X);
            cpu.Rbp = Log(cpu.Index);
            cpu.Write(c =>
            {
                // Rounds by two: in odd ones both store, in even ones vCPU 0 looks at what remains.
                c.Rounds(m, cpu.Index, Rounds, round =>
                {
                    Label look = c.CreateLabel();
                    Label next = c.CreateLabel();
                    round.test(r8d, 1);
                    round.je(look);
                    round.lea(rax, __qword_ptr[r8 * 2]);
                    round.mov(__qword_ptr[first], rax);
                    round.inc(rax);
                    round.mov(__qword_ptr[second], rax);
                    round.jmp(next);
                    round.Label(ref look);
                    round.mov(rax, __qword_ptr[first]);
                    round.mov(__qword_ptr[rbp + (r8 * 8)], rax);
                    round.Label(ref next);
                    round.nop();
                });
            });
        }

        RunRounds(m);
        Assert.Equal(0, CountRounds(m, round => (round & 1) == 0
            && Logged(m, 0, round) == (round - 1) * 2 && Logged(m, 1, round) == (round - 1) * 2));
    }

    /// <summary>
    /// Two vCPUs count up a location each; two others read both, in opposite order. If one saw X at a before Y was beyond b,
    /// the other cannot have seen Y beyond b before X was at a.
    /// </summary>
    [Fact]
    public void AllSeeStoresOfTwoInTheSameOrder()
    {
        const int samples = 20_000;
        using var m = new SmpMachine(4);
        for (int i = 0; i < 2; i++)
        {
            ulong mine = i == 0 ? X : Y;
            m.Cpus[i].Write(c => c.Repeat(int.MaxValue - 1, part => part.mov(__qword_ptr[mine], r8)));
            (ulong first, ulong second) = i == 0 ? (X, Y) : (Y, X);
            SmpCpu reader = m.Cpus[2 + i];
            reader.Rbp = Log(reader.Index);
            reader.Write(c =>
            {
                c.Repeat(samples, part =>
                {
                    part.mov(rax, __qword_ptr[first]);
                    part.mov(rcx, __qword_ptr[second]);
                    part.mov(rdx, r8);
                    part.shl(rdx, 4);
                    part.mov(__qword_ptr[rbp + rdx], rax);
                    part.mov(__qword_ptr[rbp + rdx + 8], rcx);
                    part.mov(__qword_ptr[rbp], r8);
                });
            });
        }

        m.Run(Enough);
        (ulong First, ulong Second)[] xy = Samples(m, 2);
        (ulong First, ulong Second)[] yx = Samples(m, 3);

        // Both lists grow in both parts, so that two pointers find every contradiction.
        int j = 0;
        foreach ((ulong x, ulong y) in xy)
        {
            while (j < yx.Length && yx[j].First <= y)
            {
                j++;
            }

            // All samples from j on saw Y beyond y: then they must have seen X at least at x.
            Assert.True(j == yx.Length || yx[j].Second >= x, $"one saw X {x} and then Y {y}; another Y {(j < yx.Length ? yx[j] : default)} and then X");
        }
    }

    private static (ulong First, ulong Second)[] Samples(SmpMachine m, int cpu)
    {
        var samples = new (ulong First, ulong Second)[m.Memory.Read<ulong>(Log(cpu))];
        for (int i = 0; i < samples.Length; i++)
        {
            ulong at = Log(cpu) + ((ulong)(i + 1) * 16);
            samples[i] = (m.Memory.Read<ulong>(at), m.Memory.Read<ulong>(at + 8));
            Assert.True(i == 0 || (samples[i - 1].First <= samples[i].First && samples[i - 1].Second <= samples[i].Second),
                $"vCPU {cpu} saw a counter go back at sample {i}");
        }

        return samples;
    }

    /// <summary>A location has one order of values: who has seen the newer never sees the older, whatever the instruction.</summary>
    [Fact]
    public void ALocationNeverGoesBack()
    {
        const int count = 100_000;
        using var m = new SmpMachine(3);
        m.Cpus[0].Write(c => c.Repeat(count, part => part.mov(__qword_ptr[X], r8)));
        m.Cpus[1].Write(c => c.Until(X, count, part =>
        {
            part.mov(rax, __qword_ptr[X]);
            part.mov(rcx, __qword_ptr[X]);
            part.cmp(rcx, rax);
            part.FailIfBelow();
        }));
        m.Cpus[2].Write(c => c.Until(X, count, part =>
        {
            part.mov(rsi, X);
            part.xor(eax, eax);
            part.@lock.xadd(__qword_ptr[rsi], rax);
            part.lodsq();
            part.mov(rcx, rax);
            part.movdqu(xmm1, __xmmword_ptr[X]);
            part.movq(rdx, xmm1);
            part.mov(rdi, X);
            part.mov(rbx, __qword_ptr[rdi]);
            part.cmp(rdx, rcx);
            part.FailIfBelow();
            part.cmp(rbx, rdx);
            part.FailIfBelow();
        }));
        m.Run(Enough);
    }

    /// <summary>Accesses that are atomic by themselves: aligned, or shorter than 8 bytes and within 8 aligned ones (SDM vol. 3A, 9.1.1, and APM vol. 2, 7.3.2).</summary>
    [Theory]
    [InlineData(8, 0)]
    [InlineData(4, 0)]
    [InlineData(4, 1)]
    [InlineData(2, 1)]
    [InlineData(8, 0xFF8)]
    public void AValueIsNeverSeenInHalves(int size, int offset)
    {
        const int count = 100_000;
        ulong place = Shared + 0x2000 + (ulong)offset;
        using var m = new SmpMachine(2);
        AssemblerMemoryOperand end = __qword_ptr[X];
        m.Cpus[0].Rbx = 0x0101_0101_0101_0101;
        m.Cpus[0].Write(c => c.Repeat(count, part =>
        {
            part.movzx(eax, r8b);
            part.imul(rax, rbx);
            switch (size)
            {
                case 8: part.mov(__qword_ptr[place], rax); break;
                case 4: part.mov(__dword_ptr[place], eax); break;
                default: part.mov(__word_ptr[place], ax); break;
            }

            part.mov(end, r8);
        }));
        m.Cpus[1].Write(c => c.Until(X, count, part =>
        {
            switch (size)
            {
                case 8: part.mov(rax, __qword_ptr[place]); break;
                case 4: part.mov(eax, __dword_ptr[place]); break;
                default: part.movzx(eax, __word_ptr[place]); break;
            }

            part.mov(rcx, rax);
            switch (size)
            {
                case 8: part.rol(rcx, 8); break;
                case 4: part.rol(ecx, 8); break;
                default: part.rol(cx, 8); break;
            }

            part.cmp(rcx, rax);
            part.FailIfNotEqual();
        }));
        m.Run(Enough);
    }

    private static void RunRounds(SmpMachine m) => m.Run(Enough, enough: () => Rendezvous.Completed(m) > 100);

    private static int CountRounds(SmpMachine m, Func<ulong, bool> happened)
    {
        ulong completed = Rendezvous.Completed(m);
        int count = 0;
        for (ulong round = 1; round <= completed; round++)
        {
            count += happened(round) ? 1 : 0;
        }

        return count;
    }

    private static ulong Logged(SmpMachine m, int cpu, ulong round) => m.Memory.Read<ulong>(Log(cpu) + (round * 8));
}
