using Vivarium.Engine.Software;
using System.Diagnostics;
using Iced.Intel;
using Vivarium.Engine.Tests.Snippets;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Smp.SmpMachine;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>
/// All at once, in an order drawn by lot: each vCPU calls routines that count, patch, remap and serialize, while interrupts,
/// NMIs and kicks come in and the translations are thrown away now and then. All counts must be exact at the end.
/// </summary>
[Collection(SmpCollection.Name)]
public sealed class MixedStressTests
{
    private const ulong Counter = Shared + 0x1000;
    private const ulong SplitLine = Shared + 0x207C;
    private const ulong SplitPage = Shared + 0x3FFC;
    private const ulong BesideCode = Shared + 0x6030;
    private const ulong LockWord = Shared + 0x7000;
    private const ulong Guarded = Shared + 0x7100;
    private const ulong Events = Shared + 0x8000;
    private const ulong EventHandlers = Shared + 0x9000;
    private const ulong Routines = Shared + 0xA000;
    private const ulong RoutineTables = Shared + 0x1_0000;
    private const ulong RemappedFrames = Shared + 0x1_8000;
    private const ulong Window = 0x20_0000;
    private const int RoutineSize = 0x100;
    private const int RoutineCount = 8;
    private const int Vectors = 4;
    private const int NmiVector = 2;
    private static readonly TimeSpan Enough = TimeSpan.FromMilliseconds(1200);

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void AllCountsAreExact(int cpus)
    {
        int seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        Stress(cpus, seed);
    }

    private static void Stress(int cpus, int seed)
    {
        var random = new Random(seed);
        using var m = new SmpMachine(cpus, TestOptions.Engine with { CodeCacheBytes = 1 << 20 });
        m.Base.WriteBytes(BesideCode & ~0x3Ful, 0xC3);
        Gates(m);
        foreach (SmpCpu cpu in m.Cpus)
        {
            // A window of the vCPU's own, whose page moves between two frames.
            m.Pages.Map(Window + ((ulong)cpu.Index * 0x1000), Frame(cpu.Index), PageTables.P | PageTables.Rw);
            WriteRoutines(m, cpu);
            cpu.State.Gpr[13] = Events + ((ulong)cpu.Index * 0x200);
            cpu.State.Gpr[15] = (ulong)random.NextInt64() | 1;
            cpu.Write(c =>
            {
                c.sti();
                c.Repeat(int.MaxValue - 1, part =>
                {
                    // xorshift64; three bits of it say what to do. R14 counts the calls of all that count.
                    part.mov(rax, r15);
                    part.shl(rax, 13);
                    part.xor(r15, rax);
                    part.mov(rax, r15);
                    part.shr(rax, 7);
                    part.xor(r15, rax);
                    part.mov(rax, r15);
                    part.shl(rax, 17);
                    part.xor(r15, rax);
                    part.mov(rdi, r15);
                    part.shr(rdi, 40);
                    part.and(edi, RoutineCount - 1);
                    part.inc(__qword_ptr[r13 + (rdi * 8) + 0x100]);
                    part.call(__qword_ptr[(rdi * 8) + (int)Table(cpu)]);
                });
            });
        }

        var sent = new long[cpus, Vectors + 1];
        m.Run(meanwhile: () =>
        {
            var watch = Stopwatch.StartNew();
            for (int i = 0; (watch.Elapsed < Enough || i < 200) && m.Cpus.All(cpu => cpu.Running); i++)
            {
                SmpCpu cpu = m.Cpus[random.Next(cpus)];
                switch (random.Next(4))
                {
                    case 0:
                        cpu.Kick();
                        break;
                    case 1:
                        // One at a time: two that meet would be one.
                        if (m.Memory.Read<long>(EventCounter(cpu, NmiVector)) == sent[cpu.Index, Vectors])
                        {
                            sent[cpu.Index, Vectors]++;
                            cpu.Nmi();
                        }

                        break;
                    default:
                        int vector = random.Next(Vectors);
                        sent[cpu.Index, vector] += cpu.Interrupt(SmpBus.FirstVector + vector) ? 1 : 0;
                        break;
                }

                Thread.SpinWait(random.Next(3000));
            }
        });
        string context = $"seed {seed}";
        foreach (SmpCpu cpu in m.Cpus)
        {
            for (int vector = 0; vector < Vectors; vector++)
            {
                long taken = m.Memory.Read<long>(EventCounter(cpu, SmpBus.FirstVector + vector));
                long pending = cpu.Bus.IsPending(SmpBus.FirstVector + vector) ? 1 : 0;
                Assert.True(sent[cpu.Index, vector] == taken + pending, $"{context}: vCPU {cpu.Index} got {sent[cpu.Index, vector]} interrupts of vector {vector} and took {taken}");
            }

            long missing = sent[cpu.Index, Vectors] - m.Memory.Read<long>(EventCounter(cpu, NmiVector));
            Assert.True(missing is 0 or 1, $"{context}: vCPU {cpu.Index} has lost {missing} NMIs");
        }

        AssertCount(Counter, 0, "LOCK INC");
        AssertCount(SplitLine, 1, "LOCK XADD across lines");
        AssertCount(SplitPage, 2, "LOCK ADD across pages");
        AssertCount(BesideCode, 3, "LOCK CMPXCHG beside code");
        AssertCount(Guarded, 4, "INC under a lock");

        void AssertCount(ulong at, int routine, string what)
        {
            long calls = m.Cpus.Sum(cpu => m.Memory.Read<long>(Events + ((ulong)cpu.Index * 0x200) + 0x100 + ((ulong)routine * 8)));
            Assert.True(calls > 0, $"{context}: {what} was never called");
            Assert.True(m.Memory.Read<long>(at) == calls, $"{context}: {what} was called {calls} times and counted {m.Memory.Read<long>(at)}");
        }
    }

    private static void WriteRoutines(SmpMachine m, SmpCpu cpu)
    {
        ulong entry = m.Pages.Entry(Window + ((ulong)cpu.Index * 0x1000), 12);
        ulong window = Window + ((ulong)cpu.Index * 0x1000);

        // Code of the vCPU's own, in a page that all write to.
        ulong mine = Routines + 0x3000 + ((ulong)cpu.Index * 0x30);
        Action<Assembler>[] routines =
        [
            c => c.@lock.inc(__qword_ptr[Counter]),
            c =>
            {
                c.mov(eax, 1);
                c.@lock.xadd(__qword_ptr[SplitLine], rax);
            },
            c => c.@lock.add(__qword_ptr[SplitPage], 1),
            c =>
            {
                Label retry = c.CreateLabel();
                c.call(BesideCode & ~0x3Ful);
                c.mov(rax, __qword_ptr[BesideCode]);
                c.Label(ref retry);
                c.lea(rcx, __qword_ptr[rax + 1]);
                c.@lock.cmpxchg(__qword_ptr[BesideCode], rcx);
                c.jne(retry);
            },
            c =>
            {
                // Interrupts are off while the lock is held, as they are in kernels.
                Label retry = c.CreateLabel();
                Label taken = c.CreateLabel();
                Label busy = c.CreateLabel();
                c.cli();
                c.Label(ref retry);
                c.@lock.bts(__dword_ptr[LockWord], 3);
                c.jae(taken);
                c.sti();
                c.@out(SmpBus.YieldPort, al);
                c.cli();
                c.jmp(retry);
                c.Label(ref taken);
                c.inc(__qword_ptr[Guarded]);
                c.mov(__dword_ptr[LockWord], 0);
                c.sti();
                c.Label(ref busy);
                c.nop();
            },
            c =>
            {
                c.mov(__byte_ptr[mine], -72);
                c.mov(__dword_ptr[mine + 1], r8d);
                c.mov(__byte_ptr[mine + 5], -61);
                c.call(mine);
                c.cmp(eax, r8d);
                c.FailIfNotEqual();
            },
            c =>
            {
                // The window moves to its other frame: what is read there is that frame's, before and after.
                c.mov(rax, __qword_ptr[window]);
                c.cmp(rax, __qword_ptr[window + 0x800]);
                c.FailIfNotEqual();
                c.mov(rdx, __qword_ptr[entry]);
                c.and(edx, ~0x60);
                c.xor(edx, 0x4000);
                c.mov(__qword_ptr[entry], rdx);
                c.invlpg(__byte_ptr[window]);
                c.mov(__qword_ptr[window], r8);
                c.mov(__qword_ptr[window + 0x800], r8);
                c.and(edx, 0xF_F000);
                c.cmp(__qword_ptr[rdx], r8);
                c.FailIfNotEqual();
                c.test(__byte_ptr[entry], 0x40);
                Label dirty = c.CreateLabel();
                c.jne(dirty);
                c.ud2();
                c.Label(ref dirty);
                c.nop();
            },
            c =>
            {
                c.mov(rdx, cr3);
                c.mov(cr3, rdx);
                c.xor(eax, eax);
                c.cpuid();
                c.mov(ax, ds);
                c.mov(es, eax);
            },
        ];
        for (int i = 0; i < RoutineCount; i++)
        {
            // All vCPUs share the pages of the routines.
            ulong at = Routines + ((ulong)((i * m.Cpus.Count) + cpu.Index) * RoutineSize);
            ulong end = m.Base.Write(at, c =>
            {
                routines[i](c);
                c.ret();
            });
            Assert.True(end <= at + RoutineSize);
            m.Memory.Write(Table(cpu) + ((ulong)i * 8), at);
        }
    }

    private static void Gates(SmpMachine m)
    {
        foreach (int vector in Enumerable.Range(SmpBus.FirstVector, Vectors).Append(NmiVector))
        {
            ulong handler = EventHandlers + ((ulong)EventOffset(vector) * 4);
            m.Base.SetGate(vector, handler);
            m.Base.Write(handler, c =>
            {
                c.inc(__qword_ptr[r13 + EventOffset(vector)]);
                c.iretq();
            });
        }
    }

    private static int EventOffset(int vector) => (vector == NmiVector ? Vectors : vector - SmpBus.FirstVector) * 8;

    private static ulong EventCounter(SmpCpu cpu, int vector) => Events + ((ulong)cpu.Index * 0x200) + (ulong)EventOffset(vector);

    private static ulong Table(SmpCpu cpu) => RoutineTables + ((ulong)cpu.Index * 0x100);

    /// <summary>The lower of a vCPU's two frames; the other differs in one bit.</summary>
    private static ulong Frame(int cpu) => RemappedFrames + ((ulong)cpu * 0x1000);
}
