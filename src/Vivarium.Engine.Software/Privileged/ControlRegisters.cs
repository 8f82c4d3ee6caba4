using Iced.Intel;
using Vivarium.Memory;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>MOV to and from control registers, CLTS, LMSW, SMSW (SDM vol. 2B, "MOV - Move to/from Control Registers"; vol. 3A, 2.5).</summary>
internal static unsafe class ControlRegisters
{
    private const ulong Cr0Defined = Cr0Bits.Pe | Cr0Bits.Mp | Cr0Bits.Em | Cr0Bits.Ts | Cr0Bits.Et | Cr0Bits.Ne
        | Cr0Bits.Wp | Cr0Bits.Am | Cr0Bits.Nw | Cr0Bits.Cd | Cr0Bits.Pg;

    private const ulong Cr4Defined = Cr4Bits.Vme | Cr4Bits.Pvi | Cr4Bits.Tsd | Cr4Bits.De | Cr4Bits.Pse | Cr4Bits.Pae
        | Cr4Bits.Mce | Cr4Bits.Pge | Cr4Bits.Pce | Cr4Bits.OsFxsr | Cr4Bits.OsXmmExcpt | Cr4Bits.Umip
        | Cr4Bits.FsGsBase | Cr4Bits.Pcide | Cr4Bits.Smep | Cr4Bits.Smap;

    /// <summary>CR4 bits that change what a cached translation means.</summary>
    private const ulong Cr4Translation = Cr4Bits.Pse | Cr4Bits.Pae | Cr4Bits.Pge | Cr4Bits.Pcide | Cr4Bits.Smep | Cr4Bits.Smap;

    private const ulong PhysicalAddressMask = (1ul << CpuModel.PhysicalAddressBits) - 1;
    private const ulong Cr3NoFlush = 1ul << 63;
    private const ulong PcidMask = 0xFFF;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Clts] = &Clts;
        table[(int)Mnemonic.Lmsw] = &Lmsw;
        table[(int)Mnemonic.Smsw] = &Smsw;
    }

    public static void Mov(SoftwareVcpu cpu, in Instruction insn)
    {
        bool toControl = insn.Op0Register.IsCR();
        Register control = toControl ? insn.Op0Register : insn.Op1Register;
        if (control is not (Iced.Intel.Register.CR0 or Iced.Intel.Register.CR2 or Iced.Intel.Register.CR3
            or Iced.Intel.Register.CR4 or Iced.Intel.Register.CR8))
        {
            throw GuestException.Undefined();
        }

        cpu.RequireRing0();
        if (toControl)
        {
            Write(cpu, control, cpu.ReadRegister(insn.Op1Register));
        }
        else
        {
            cpu.WriteRegister(insn.Op0Register, Read(cpu, control));
        }
    }

    private static ulong Read(SoftwareVcpu cpu, Register control) => control switch
    {
        Iced.Intel.Register.CR0 => cpu.S->Cr0,
        Iced.Intel.Register.CR2 => cpu.S->Cr2,
        Iced.Intel.Register.CR3 => cpu.S->Cr3,
        Iced.Intel.Register.CR4 => cpu.S->Cr4,
        _ => cpu.Bus.TaskPriority,
    };

    private static void Write(SoftwareVcpu cpu, Register control, ulong value)
    {
        switch (control)
        {
            case Iced.Intel.Register.CR0:
                WriteCr0(cpu, value);
                break;
            case Iced.Intel.Register.CR2:
                cpu.S->Cr2 = value;
                break;
            case Iced.Intel.Register.CR3:
                WriteCr3(cpu, value);
                break;
            case Iced.Intel.Register.CR4:
                WriteCr4(cpu, value);
                break;
            default:
                if (value > 15)
                {
                    throw GuestException.Protection();
                }

                cpu.Bus.TaskPriority = (byte)value;
                break;
        }
    }

    private static void WriteCr0(SoftwareVcpu cpu, ulong value)
    {
        NativeState* s = cpu.S;
        if (value >> 32 != 0)
        {
            throw GuestException.Protection();
        }

        value = (value & Cr0Defined) | Cr0Bits.Et;
        bool paging = (value & Cr0Bits.Pg) != 0;
        if ((paging && (value & Cr0Bits.Pe) == 0) || (value & (Cr0Bits.Nw | Cr0Bits.Cd)) == Cr0Bits.Nw)
        {
            throw GuestException.Protection();
        }

        ulong changed = value ^ s->Cr0;
        ulong efer = s->Efer;
        if ((changed & Cr0Bits.Pg) != 0)
        {
            efer = paging ? EnablePaging(cpu) : DisablePaging(cpu);
        }
        else if (paging && (changed & (Cr0Bits.Cd | Cr0Bits.Nw)) != 0)
        {
            CheckPageDirectoryPointers(cpu, s->Cr3, s->Cr4, efer);
        }

        s->Cr0 = value;
        s->Efer = efer;

        // Without paging neither PE nor WP means anything to a TLB.
        if ((changed & Cr0Bits.Pg) != 0 || (paging && (changed & Cr0Bits.Wp) != 0))
        {
            cpu.FlushTlb(keepGlobal: false);
        }

        if (changed != 0)
        {
            cpu.UpdateMode();
        }
    }

    /// <summary>CR0.PG from 0 to 1: with EFER.LME it activates long mode (SDM vol. 3A, 9.8.5). Returns EFER.</summary>
    private static ulong EnablePaging(SoftwareVcpu cpu)
    {
        NativeState* s = cpu.S;
        if ((s->Efer & EferBits.Lme) == 0)
        {
            CheckPageDirectoryPointers(cpu, s->Cr3, s->Cr4, s->Efer);
            return s->Efer;
        }

        const uint available16BitTss = 1, busy16BitTss = 3;
        uint tssType = s->Tr.Attributes & SegmentRegister.TypeMask;
        if ((s->Cr4 & Cr4Bits.Pae) == 0
            || (s->Cs.Attributes & SegmentRegister.Long) != 0
            || tssType is available16BitTss or busy16BitTss)
        {
            throw GuestException.Protection();
        }

        return s->Efer | EferBits.Lma;
    }

    private static ulong DisablePaging(SoftwareVcpu cpu)
    {
        if (cpu.Code64 || (cpu.S->Cr4 & Cr4Bits.Pcide) != 0)
        {
            throw GuestException.Protection();
        }

        return cpu.S->Efer & ~EferBits.Lma;
    }

    private static void WriteCr3(SoftwareVcpu cpu, ulong value)
    {
        NativeState* s = cpu.S;
        bool keep = false;
        if (cpu.LongModeActive)
        {
            if ((s->Cr4 & Cr4Bits.Pcide) != 0)
            {
                keep = (value & Cr3NoFlush) != 0;
                value &= ~Cr3NoFlush;
            }

            if ((value & ~PhysicalAddressMask) != 0)
            {
                throw GuestException.Protection();
            }
        }
        else
        {
            value = (uint)value;
            if ((s->Cr0 & Cr0Bits.Pg) != 0)
            {
                CheckPageDirectoryPointers(cpu, value, s->Cr4, s->Efer);
            }
        }

        s->Cr3 = value;
        cpu.FlushAfterCr3Write(keep);
    }

    private static void WriteCr4(SoftwareVcpu cpu, ulong value)
    {
        NativeState* s = cpu.S;
        ulong defined = cpu.Model.Has(CpuFeature.Xsave) ? Cr4Defined | Cr4Bits.OsXsave : Cr4Defined;
        if ((value & ~defined) != 0)
        {
            throw GuestException.Protection();
        }

        ulong changed = value ^ s->Cr4;
        if (cpu.LongModeActive && (value & Cr4Bits.Pae) == 0)
        {
            throw GuestException.Protection();
        }

        if ((changed & value & Cr4Bits.Pcide) != 0 && (!cpu.LongModeActive || (s->Cr3 & PcidMask) != 0))
        {
            throw GuestException.Protection();
        }

        if ((s->Cr0 & Cr0Bits.Pg) != 0 && (changed & (Cr4Bits.Pae | Cr4Bits.Pge | Cr4Bits.Pse | Cr4Bits.Smep)) != 0)
        {
            CheckPageDirectoryPointers(cpu, s->Cr3, value, s->Efer);
        }

        s->Cr4 = value;
        if ((changed & Cr4Translation) != 0)
        {
            cpu.FlushTlb(keepGlobal: false);
        }

        if (changed != 0)
        {
            cpu.UpdateMode();
        }
    }

    /// <summary>PAE paging outside long mode loads the four page-directory-pointer-table entries with CR3: reserved bits in a present one are #GP(0) (SDM vol. 3A, 4.4.1).</summary>
    private static void CheckPageDirectoryPointers(SoftwareVcpu cpu, ulong cr3, ulong cr4, ulong efer)
    {
        const ulong present = 1, reserved = ~PhysicalAddressMask | 0x1E6, tableMask = 0xFFFF_FFE0;
        if ((cr4 & Cr4Bits.Pae) == 0 || (efer & EferBits.Lme) != 0)
        {
            return;
        }

        GuestMemory memory = cpu.Memory;
        Span<ulong> entries = stackalloc ulong[4];
        if (!memory.TryRead(cr3 & tableMask, System.Runtime.InteropServices.MemoryMarshal.AsBytes(entries)))
        {
            // Nobody answers: all ones.
            throw GuestException.Protection();
        }

        foreach (ulong entry in entries)
        {
            if ((entry & present) != 0 && (entry & reserved) != 0)
            {
                throw GuestException.Protection();
            }
        }
    }

    private static void Clts(SoftwareVcpu cpu, in Instruction insn)
    {
        cpu.RequireRing0();
        if ((cpu.S->Cr0 & Cr0Bits.Ts) != 0)
        {
            cpu.S->Cr0 &= ~Cr0Bits.Ts;
            cpu.UpdateMode();
        }
    }

    /// <summary>Loads CR0 bits 3:0; PE can be set but not cleared.</summary>
    private static void Lmsw(SoftwareVcpu cpu, in Instruction insn)
    {
        const ulong machineStatus = Cr0Bits.Pe | Cr0Bits.Mp | Cr0Bits.Em | Cr0Bits.Ts;
        cpu.RequireRing0();
        ulong source = insn.Op0Kind == OpKind.Register
            ? cpu.ReadRegister(insn.Op0Register)
            : cpu.Load(cpu.LinearAddress(insn, 2, Access.Read), 2);
        ulong cr0 = cpu.S->Cr0;
        WriteCr0(cpu, (cr0 & ~(machineStatus & ~Cr0Bits.Pe)) | (source & machineStatus));
    }

    private static void Smsw(SoftwareVcpu cpu, in Instruction insn)
    {
        cpu.RequireRing0UnderUmip();
        if (insn.Op0Kind == OpKind.Register)
        {
            cpu.WriteRegister(insn.Op0Register, cpu.S->Cr0);
        }
        else
        {
            cpu.Store(cpu.LinearAddress(insn, 2, Access.Write), 2, (ushort)cpu.S->Cr0);
        }
    }
}
