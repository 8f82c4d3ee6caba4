using System.Diagnostics;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Smp.SmpMachine;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>Interrupts, NMIs and kicks from other threads: each request leads to its answer, without another to help it along.</summary>
[Collection(SmpCollection.Name)]
public sealed class EventTests
{
    private const int FirstVector = SmpBus.FirstVector;

    /// <summary>How often a handler has run: a qword for each vector.</summary>
    private const ulong Counters = Shared + 0x1000;

    private const ulong Handlers = Shared + 0x8000;
    private const int NmiVector = 2;
    private static readonly TimeSpan Enough = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan Lost = TimeSpan.FromSeconds(5);

    /// <summary>What the guest does while it is interrupted.</summary>
    public static TheoryData<string> Activities => ["halts", "idles", .. Runs];

    private static string[] Runs => ["computes", "calls", "closes the window", "locks across pages", "traps", "translates"];

    public static TheoryData<string> RunningActivities => [.. Runs];

    [Theory]
    [MemberData(nameof(Activities))]
    public void EachInterruptIsTaken(string activity)
    {
        using SmpMachine m = Machine(2, activity);
        StormAndCount(m, (cpu, sender, _) =>
        {
            int vector = FirstVector + sender;
            cpu.Interrupt(vector);
            return Counter(cpu, vector);
        });
    }

    [Theory]
    [MemberData(nameof(Activities))]
    public void EachNmiIsTaken(string activity)
    {
        using SmpMachine m = Machine(2, activity);
        StormAndCount(m, (cpu, sender, _) =>
        {
            if (sender == 0)
            {
                cpu.Nmi();
                return Counter(cpu, NmiVector);
            }

            cpu.Interrupt(FirstVector + sender);
            return Counter(cpu, FirstVector + sender);
        });
    }

    [Theory]
    [MemberData(nameof(RunningActivities))]
    public void EachKickEndsARun(string activity)
    {
        using SmpMachine m = Machine(2, activity);
        Storm(m, senders: 1, (cpu, _, _) =>
        {
            long before = cpu.Cancelled;
            cpu.Kick();
            Await(() => cpu.Cancelled > before, () => $"vCPU {cpu.Index} was kicked and went on");
        });
    }

    /// <summary>Kicks in between do not lose interrupts, and interrupts do not lose kicks.</summary>
    [Theory]
    [MemberData(nameof(Activities))]
    public void RequestsOfAllKindsDoNotLoseEachOther(string activity)
    {
        using SmpMachine m = Machine(2, activity);
        StormAndCount(m, (cpu, sender, round) =>
        {
            if (round % 3 == 0)
            {
                cpu.Kick();
            }

            if (sender == 0)
            {
                cpu.Nmi();
                return Counter(cpu, NmiVector);
            }

            cpu.Interrupt(FirstVector + sender);
            return Counter(cpu, FirstVector + sender);
        });
    }

    /// <summary>Two vCPUs that halt until the other interrupts them, in turn, by port writes: a lost wake-up stops both.</summary>
    [Fact]
    public void InterruptsBetweenHaltedProcessorsGoToAndFro()
    {
        const int rounds = 3_000;
        const int vector = FirstVector + 5;
        using var m = new SmpMachine(2);
        Gates(m);
        foreach (SmpCpu cpu in m.Cpus)
        {
            SmpCpu other = m.Cpus[1 - cpu.Index];
            cpu.Bus.OnPortWrite = (_, _) => other.Interrupt(vector);
            cpu.State.Gpr[13] = Base(cpu);
            cpu.Write(c => c.Repeat(rounds, part =>
            {
                if (cpu.Index == 0)
                {
                    part.@out(0x80, al);
                    WaitHalted(part, vector);
                }
                else
                {
                    WaitHalted(part, vector);
                    part.@out(0x80, al);
                }
            }));
        }

        // The one that ends first leaves the other waiting: it looks at the stop flag when it is woken.
        m.Run(meanwhile: () =>
        {
            var watch = Stopwatch.StartNew();
            long last = 0;
            while (m.Cpus.All(cpu => cpu.Running) && watch.Elapsed < Enough)
            {
                Thread.Sleep(20);
                long now = m.Cpus.Sum(cpu => Read(Counter(cpu, vector)));
                if (now > last)
                {
                    last = now;
                }
                else
                {
                    Await(() => m.Cpus.Any(cpu => !cpu.Running) || m.Cpus.Sum(cpu => Read(Counter(cpu, vector))) > now, () => "both wait for the other: a wake-up is lost");
                }
            }

            m.Stop();
            while (m.Cpus.Any(cpu => cpu.Running) && watch.Elapsed < Lost)
            {
                foreach (SmpCpu cpu in m.Cpus)
                {
                    cpu.Interrupt(vector);
                }

                Thread.Sleep(1);
            }
        });

        long Read((SmpMachine Machine, ulong Address) counter) => m.Memory.Read<long>(counter.Address);

        (SmpMachine Machine, ulong Address) Counter(SmpCpu cpu, int of) => (m, Base(cpu) + ((ulong)of * 8));
    }

    /// <summary>Where a vCPU counts its interrupts; its R13.</summary>
    private static ulong Base(SmpCpu cpu) => Counters + ((ulong)cpu.Index * 0x400);

    private static ulong Counter(SmpCpu cpu, int vector) => Base(cpu) + ((ulong)vector * 8);

    /// <summary>CLI, look, STI and HLT, as idle loops do: until the counter of a vector is at least R8.</summary>
    private static void WaitHalted(Assembler c, int vector)
    {
        Label look = c.CreateLabel();
        Label come = c.CreateLabel();
        c.nop();
        c.Label(ref look);
        c.cli();
        c.cmp(__qword_ptr[r13 + (vector * 8)], r8);
        c.jae(come);
        c.cmp(__byte_ptr[StopFlag], 0);
        c.jne(come);
        c.sti();
        c.hlt();
        c.jmp(look);
        c.Label(ref come);
        c.nop();
    }

    /// <summary>A handler for each vector that counts, and for NMIs one that notices when it is nested.</summary>
    private static void Gates(SmpMachine m)
    {
        foreach (int vector in Enumerable.Range(FirstVector, 16).Append(NmiVector))
        {
            ulong handler = Handlers + ((ulong)vector * 0x40);
            m.Base.SetGate(vector, handler);
            m.Base.Write(handler, c =>
            {
                if (vector == NmiVector)
                {
                    Label single = c.CreateLabel();
                    c.bts(__dword_ptr[r13], 0);
                    c.jae(single);
                    c.ud2();
                    c.Label(ref single);
                }

                c.inc(__qword_ptr[r13 + (vector * 8)]);
                if (vector == NmiVector)
                {
                    c.btr(__dword_ptr[r13], 0);
                }

                c.iretq();
            });
        }
    }

    private static SmpMachine Machine(int cpus, string activity)
    {
        var m = new SmpMachine(cpus);
        Gates(m);
        foreach (SmpCpu cpu in m.Cpus)
        {
            cpu.State.Gpr[13] = Base(cpu);
            cpu.Write(c =>
            {
                c.sti();
                c.Repeat(int.MaxValue - 1, part => Act(part, activity, cpu));
            });
        }

        return m;
    }

    private static void Act(Assembler c, string activity, SmpCpu cpu)
    {
        Label again = c.CreateLabel();
        switch (activity)
        {
            case "halts":
                c.sti();
                c.hlt();
                break;
            case "idles":
                Label busy = c.CreateLabel();
                c.cli();
                c.test(r8d, 3);
                c.jne(busy);
                c.sti();
                c.hlt();
                c.Label(ref busy);
                c.sti();
                break;
            case "computes":
                c.mov(ecx, 1000);
                c.Label(ref again);
                c.dec(ecx);
                c.jne(again);
                break;
            case "calls":
                // Nothing jumps back: each call leads to two more.
                Label calls = c.CreateLabel();
                Label innermost = c.CreateLabel();
                Label done = c.CreateLabel();
                c.mov(ecx, 15);
                c.call(calls);
                c.jmp(done);
                c.Label(ref calls);
                c.dec(ecx);
                c.je(innermost);
                c.call(calls);
                c.call(calls);
                c.Label(ref innermost);
                c.inc(ecx);
                c.ret();
                c.Label(ref done);
                c.nop();
                break;
            case "closes the window":
                c.cli();
                c.mov(ecx, 100);
                c.Label(ref again);
                c.dec(ecx);
                c.jne(again);
                c.sti();
                c.nop();
                break;
            case "locks across pages":
                c.@lock.inc(__qword_ptr[Shared + 0x4FFD]);
                break;
            case "traps":
                c.xor(eax, eax);
                c.cpuid();
                c.mov(rdx, cr3);
                c.mov(cr3, rdx);
                break;
            default:
                // Code that changes all the time.
                ulong place = cpu.Code + 0x1000;
                c.mov(__byte_ptr[place], -72);
                c.mov(__dword_ptr[place + 1], r8d);
                c.mov(__byte_ptr[place + 5], -61);
                c.call(place);
                c.cmp(eax, r8d);
                c.FailIfNotEqual();
                break;
        }
    }

    /// <summary>Sends requests that a handler counts, one after another: the next when the last was counted.</summary>
    /// <param name="send">Sends to a vCPU; returns the counter.</param>
    private static void StormAndCount(SmpMachine m, Func<SmpCpu, int, int, ulong> send)
        => Storm(m, senders: 2, (cpu, sender, round) =>
        {
            int vector = sender;
            ulong sent = send(cpu, sender, round);
            long expected = round + 1;
            Await(() => m.Memory.Read<long>(sent) == expected,
                () => $"vCPU {cpu.Index} was asked {expected} times by sender {vector} and answered {m.Memory.Read<long>(sent)} times");
        });

    /// <summary>From several threads, each to all vCPUs in turn, until there was enough.</summary>
    private static void Storm(SmpMachine m, int senders, Action<SmpCpu, int, int> request)
    {
        m.Run(meanwhile: () =>
        {
            var watch = Stopwatch.StartNew();
            string? failure = null;
            Thread[] threads = [.. Enumerable.Range(0, senders).Select(sender => new Thread(() =>
            {
                try
                {
                    for (int round = 0; (watch.Elapsed < Enough || round < 5) && failure is null && m.Cpus.All(cpu => cpu.Running); round++)
                    {
                        foreach (SmpCpu cpu in m.Cpus)
                        {
                            request(cpu, sender, round);
                        }
                    }
                }
                catch (InvalidOperationException lost)
                {
                    failure = lost.Message;
                }
            }))];
            foreach (Thread thread in threads)
            {
                thread.Start();
            }

            foreach (Thread thread in threads)
            {
                thread.Join();
            }

            // A vCPU that halts ends when it is woken.
            m.Stop();
            while (failure is null && m.Cpus.Any(cpu => cpu.Running) && watch.Elapsed < Lost)
            {
                foreach (SmpCpu cpu in m.Cpus)
                {
                    cpu.Interrupt(FirstVector + 15);
                }

                Thread.Sleep(1);
            }

            if (failure is not null)
            {
                throw new InvalidOperationException(failure);
            }
        });
    }

    private static void Await(Func<bool> happened, Func<string> otherwise)
    {
        var patience = new Patience(Lost);
        var spin = new SpinWait();
        while (!happened())
        {
            spin.SpinOnce(sleep1Threshold: -1);
            if (patience.Exhausted && !happened())
            {
                throw new InvalidOperationException(otherwise());
            }
        }
    }
}
