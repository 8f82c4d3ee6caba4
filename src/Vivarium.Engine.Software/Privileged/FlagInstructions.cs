using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// CLI, STI, PUSHF, POPF with the rules of IOPL, virtual-8086 mode and virtual interrupts (SDM vol. 2; vol. 3B, 20.3-20.4),
/// STAC, CLAC, CLD, STD. The arithmetic flags' own instructions run natively.
/// </summary>
internal static unsafe class FlagInstructions
{
    private const ulong InterruptFlags = RflagsBits.If | RflagsBits.Iopl;
    private const ulong VirtualFlags = RflagsBits.Vif | RflagsBits.Vip | RflagsBits.Vm;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Cli] = &Cli;
        table[(int)Mnemonic.Sti] = &Sti;
        table[(int)Mnemonic.Pushf] = &Pushf;
        table[(int)Mnemonic.Pushfd] = &Pushf;
        table[(int)Mnemonic.Pushfq] = &Pushf;
        table[(int)Mnemonic.Popf] = &Popf;
        table[(int)Mnemonic.Popfd] = &Popf;
        table[(int)Mnemonic.Popfq] = &Popf;
        table[(int)Mnemonic.Stac] = &Stac;
        table[(int)Mnemonic.Clac] = &Clac;
        table[(int)Mnemonic.Cld] = &Cld;
        table[(int)Mnemonic.Std] = &Std;
    }

    /// <summary>Which flag CLI and STI reach: IF, or VIF under virtual interrupts. Neither: #GP(0).</summary>
    private static ulong ReachableInterruptFlag(SoftwareVcpu cpu)
    {
        NativeState* s = cpu.S;
        if (!cpu.ProtectedMode)
        {
            return RflagsBits.If;
        }

        if (cpu.Virtual8086)
        {
            return Iopl(cpu) == 3 ? RflagsBits.If
                : (s->Cr4 & Cr4Bits.Vme) != 0 ? RflagsBits.Vif
                : throw GuestException.Protection();
        }

        return cpu.Cpl <= Iopl(cpu) ? RflagsBits.If
            : cpu.Cpl == 3 && (s->Cr4 & Cr4Bits.Pvi) != 0 ? RflagsBits.Vif
            : throw GuestException.Protection();
    }

    private static void Cli(SoftwareVcpu cpu, in Instruction insn) => cpu.S->SystemFlags &= ~ReachableInterruptFlag(cpu);

    private static void Sti(SoftwareVcpu cpu, in Instruction insn)
    {
        NativeState* s = cpu.S;
        ulong flag = ReachableInterruptFlag(cpu);
        if (flag == RflagsBits.Vif && (s->SystemFlags & RflagsBits.Vip) != 0)
        {
            throw GuestException.Protection();
        }

        // The instruction after one that turns interrupts on is not interruptible.
        if (flag == RflagsBits.If && (s->SystemFlags & RflagsBits.If) == 0)
        {
            cpu.InterruptShadow = true;
        }

        s->SystemFlags |= flag;
    }

    private static void Pushf(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = OperandSize(insn);
        ulong flags = cpu.Rflags & ~(RflagsBits.Vm | RflagsBits.Rf);
        if (cpu.Virtual8086 && Iopl(cpu) < 3)
        {
            RequireVirtualModeExtensions(cpu, size);
            ulong virtualIf = (flags & RflagsBits.Vif) != 0 ? RflagsBits.If : 0;
            flags = (flags & ~RflagsBits.If) | virtualIf | RflagsBits.Iopl;
        }

        cpu.Push(size, flags);
    }

    private static void Popf(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = OperandSize(insn);
        ulong old = cpu.Rflags;
        ulong value = cpu.PeekStack(0, size);
        ulong writable = RflagsBits.Defined & ~VirtualFlags;
        bool inVirtual8086 = cpu.Virtual8086;
        if (inVirtual8086 && Iopl(cpu) < 3)
        {
            RequireVirtualModeExtensions(cpu, size);
            if ((value & RflagsBits.Tf) != 0 || ((value & RflagsBits.If) != 0 && (old & RflagsBits.Vip) != 0))
            {
                throw GuestException.Protection();
            }

            // IF stands for VIF here.
            old = (value & RflagsBits.If) != 0 ? old | RflagsBits.Vif : old & ~RflagsBits.Vif;
            writable &= ~InterruptFlags;
        }
        else if (inVirtual8086)
        {
            writable &= ~RflagsBits.Iopl;
        }
        else if (cpu.ProtectedMode && cpu.Cpl != 0)
        {
            writable &= ~RflagsBits.Iopl;
            if (cpu.Cpl > Iopl(cpu))
            {
                writable &= ~RflagsBits.If;
            }
        }

        if (size == 2)
        {
            writable &= 0xFFFF;
        }
        else
        {
            // Not popped but cleared.
            value &= ~RflagsBits.Rf;
        }

        cpu.ReleaseStack((uint)size);
        ulong flags = (old & ~writable) | (value & writable);
        ulong changed = flags ^ cpu.Rflags;
        cpu.Rflags = flags;
        if ((changed & (RflagsBits.Tf | RflagsBits.Ac | RflagsBits.Iopl)) != 0)
        {
            cpu.UpdateMode();
        }
    }

    private static void Stac(SoftwareVcpu cpu, in Instruction insn) => SetAlignmentCheck(cpu, RflagsBits.Ac);

    private static void Clac(SoftwareVcpu cpu, in Instruction insn) => SetAlignmentCheck(cpu, 0);

    private static void SetAlignmentCheck(SoftwareVcpu cpu, ulong value)
    {
        if (cpu.Virtual8086 || cpu.Cpl != 0 || !cpu.Model.Has(CpuFeature.Smap))
        {
            throw GuestException.Undefined();
        }

        if ((cpu.S->SystemFlags & RflagsBits.Ac) != value)
        {
            cpu.S->SystemFlags ^= RflagsBits.Ac;
            cpu.UpdateMode();
        }
    }

    private static void Cld(SoftwareVcpu cpu, in Instruction insn) => cpu.S->SystemFlags &= ~RflagsBits.Df;

    private static void Std(SoftwareVcpu cpu, in Instruction insn) => cpu.S->SystemFlags |= RflagsBits.Df;

    /// <summary>In virtual-8086 mode with IOPL below 3 only the 16-bit forms work, and only with CR4.VME.</summary>
    private static void RequireVirtualModeExtensions(SoftwareVcpu cpu, int size)
    {
        if (size != 2 || (cpu.S->Cr4 & Cr4Bits.Vme) == 0)
        {
            throw GuestException.Protection();
        }
    }

    private static int Iopl(SoftwareVcpu cpu) => (int)(cpu.S->SystemFlags >> RflagsBits.IoplShift) & 3;

    private static int OperandSize(in Instruction insn) => insn.Mnemonic switch
    {
        Mnemonic.Pushf or Mnemonic.Popf => 2,
        Mnemonic.Pushfd or Mnemonic.Popfd => 4,
        _ => 8,
    };
}
