using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>RDTSC, RDTSCP, RDPID, RDPMC (SDM vol. 2B). Translated code reads the counter by itself where it may; this is the rest.</summary>
internal static unsafe class Timestamps
{
    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Rdtsc] = &Rdtsc;
        table[(int)Mnemonic.Rdtscp] = &Rdtscp;
        table[(int)Mnemonic.Rdpid] = &Rdpid;
        table[(int)Mnemonic.Rdpmc] = &Rdpmc;
    }

    private static void Rdtsc(SoftwareVcpu cpu, in Instruction insn)
    {
        CheckTimestampDisable(cpu);
        WriteEdxEax(cpu, cpu.GuestTsc);
    }

    private static void Rdtscp(SoftwareVcpu cpu, in Instruction insn)
    {
        CheckTimestampDisable(cpu);
        WriteEdxEax(cpu, cpu.GuestTsc);
        cpu.WriteGpr(1, 4, cpu.TscAux);
    }

    private static void Rdpid(SoftwareVcpu cpu, in Instruction insn) => cpu.WriteRegister(insn.Op0Register, (uint)cpu.TscAux);

    /// <summary>There are no performance counters, so every index is invalid.</summary>
    private static void Rdpmc(SoftwareVcpu cpu, in Instruction insn) => throw GuestException.Protection();

    private static void CheckTimestampDisable(SoftwareVcpu cpu)
    {
        if ((cpu.S->Cr4 & Cr4Bits.Tsd) != 0)
        {
            cpu.RequireRing0();
        }
    }

    private static void WriteEdxEax(SoftwareVcpu cpu, ulong value)
    {
        cpu.WriteGpr(0, 4, value);
        cpu.WriteGpr(2, 4, value >> 32);
    }
}
