using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>
/// Makes snippets of several vCPUs go through rounds together. R8 is the round, from 1 on; R9 and R10 are used up. A vCPU
/// says that it has come by writing the round to a cache line of its own; all begin when the last has come.
/// </summary>
internal static class Rendezvous
{
    private const ulong Slots = SmpMachine.StopFlag + 0x100;
    private const int SlotSize = 0x80;

    /// <summary>The last round that the vCPU has completed.</summary>
    public static ulong Completed(SmpMachine machine, int cpu) => machine.Memory.Read<ulong>(Slot(cpu)) - 1;

    /// <summary>The last round that all vCPUs have completed.</summary>
    public static ulong Completed(SmpMachine machine) => machine.Cpus.Min(cpu => Completed(machine, cpu.Index));

    /// <summary>Repeats a part of a snippet for so many rounds, or until the machine's stop flag is set; then halts.</summary>
    public static void Rounds(this Assembler c, SmpMachine machine, int me, int rounds, Action<Assembler> round)
    {
        Label again = c.CreateLabel();
        Label end = c.CreateLabel();
        c.mov(r8d, 1);
        c.Label(ref again);
        c.mov(__qword_ptr[Slot(me)], r8);
        foreach (SmpCpu other in machine.Cpus.Where(cpu => cpu.Index != me))
        {
            c.WaitFor(Slot(other.Index), end);
        }

        c.Skew(me);
        round(c);
        c.inc(r8);
        c.cmp(r8, rounds + 1);
        c.jb(again);
        c.mov(__qword_ptr[Slot(me)], r8);
        c.Label(ref end);
        c.End();
    }

    /// <summary>Repeats a part of a snippet with R8 = 1, 2... so many times, or until the machine's stop flag is set; then halts.</summary>
    public static void Repeat(this Assembler c, int times, Action<Assembler> part)
    {
        Label again = c.CreateLabel();
        Label end = c.CreateLabel();
        c.mov(r8d, 1);
        c.Label(ref again);
        part(c);
        c.inc(r8);
        c.cmp(__byte_ptr[SmpMachine.StopFlag], 0);
        c.jne(end);
        c.cmp(r8, times + 1);
        c.jb(again);
        c.Label(ref end);
        c.End();
    }

    /// <summary>Repeats a part of a snippet until a qword has a value, or the machine's stop flag is set; then halts.</summary>
    public static void Until(this Assembler c, ulong address, int value, Action<Assembler> part)
    {
        Label again = c.CreateLabel();
        Label end = c.CreateLabel();
        c.Label(ref again);
        part(c);
        c.cmp(__byte_ptr[SmpMachine.StopFlag], 0);
        c.jne(end);
        c.cmp(__qword_ptr[address], value);
        c.jne(again);
        c.Label(ref end);
        c.End();
    }

    /// <summary>The snippet has come to its end.</summary>
    public static void End(this Assembler c)
    {
        c.cli();
        c.hlt();
    }

    /// <summary>Ends the run as failed (by #UD, which shows the registers) if the last unsigned comparison found less.</summary>
    public static void FailIfBelow(this Assembler c)
    {
        Label good = c.CreateLabel();
        c.jae(good);
        c.ud2();
        c.Label(ref good);
    }

    public static void FailIfNotEqual(this Assembler c)
    {
        Label good = c.CreateLabel();
        c.je(good);
        c.ud2();
        c.Label(ref good);
    }

    /// <summary>Waits until a qword is at least R8; goes to <paramref name="end"/> when the stop flag is set. Uses R9.</summary>
    public static void WaitFor(this Assembler c, ulong address, Label end)
    {
        Label wait = c.CreateLabel();
        Label come = c.CreateLabel();
        c.xor(r9d, r9d);
        c.Label(ref wait);
        c.cmp(__qword_ptr[address], r8);
        c.jae(come);
        c.Spin(end);
        c.jmp(wait);
        c.Label(ref come);
    }

    /// <summary>One turn of a waiting loop that counts in R9D: looks at the stop flag, and now and then lets the host's other threads run.</summary>
    public static void Spin(this Assembler c, Label end)
    {
        Label stay = c.CreateLabel();
        c.cmp(__byte_ptr[SmpMachine.StopFlag], 0);
        c.jne(end);
        c.pause();
        c.inc(r9d);
        c.test(r9d, 0x1FF);
        c.jne(stay);
        c.@out(SmpBus.YieldPort, al);
        c.Label(ref stay);
    }

    /// <summary>A delay that is another one each round, so that the vCPUs meet in all ways.</summary>
    private static void Skew(this Assembler c, int me)
    {
        Label wait = c.CreateLabel();
        c.mov(r9d, r8d);
        c.shr(r9d, (byte)(me * 3));
        c.and(r9d, 7);
        c.Label(ref wait);
        c.dec(r9d);
        c.jns(wait);
    }

    private static ulong Slot(int cpu) => Slots + ((ulong)cpu * SlotSize);
}
