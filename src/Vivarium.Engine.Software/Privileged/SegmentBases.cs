using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>SWAPGS, RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE (SDM vol. 2). The bases are read at each access, so the mode does not change.</summary>
internal static unsafe class SegmentBases
{
    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Swapgs] = &SwapGs;
        table[(int)Mnemonic.Rdfsbase] = &ReadFsBase;
        table[(int)Mnemonic.Rdgsbase] = &ReadGsBase;
        table[(int)Mnemonic.Wrfsbase] = &WriteFsBase;
        table[(int)Mnemonic.Wrgsbase] = &WriteGsBase;
    }

    public static void SwapGs(SoftwareVcpu cpu, in Instruction insn)
    {
        if (!cpu.Code64)
        {
            throw GuestException.Undefined();
        }

        if (cpu.Cpl != 0)
        {
            throw GuestException.Protection();
        }

        (cpu.S->Gs.Base, cpu.KernelGsBase) = (cpu.KernelGsBase, cpu.S->Gs.Base);
    }

    public static void ReadFsBase(SoftwareVcpu cpu, in Instruction insn) => Read(cpu, insn, cpu.S->Fs.Base);

    public static void ReadGsBase(SoftwareVcpu cpu, in Instruction insn) => Read(cpu, insn, cpu.S->Gs.Base);

    public static void WriteFsBase(SoftwareVcpu cpu, in Instruction insn) => cpu.S->Fs.Base = NewBase(cpu, insn);

    public static void WriteGsBase(SoftwareVcpu cpu, in Instruction insn) => cpu.S->Gs.Base = NewBase(cpu, insn);

    private static void Read(SoftwareVcpu cpu, in Instruction insn, ulong value)
    {
        RequireFsGsBase(cpu);
        cpu.WriteRegister(insn.Op0Register, value);
    }

    private static ulong NewBase(SoftwareVcpu cpu, in Instruction insn)
    {
        RequireFsGsBase(cpu);
        ulong value = cpu.ReadRegister(insn.Op0Register);
        return SoftwareVcpu.IsCanonical(value) ? value : throw GuestException.Protection();
    }

    private static void RequireFsGsBase(SoftwareVcpu cpu)
    {
        if (!cpu.Code64 || (cpu.S->Cr4 & Cr4Bits.FsGsBase) == 0)
        {
            throw GuestException.Undefined();
        }
    }
}
