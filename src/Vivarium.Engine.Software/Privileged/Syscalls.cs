using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// SYSCALL and SYSRET (APM vol. 3; SDM vol. 2), SYSENTER and SYSEXIT (SDM vol. 3A, 5.8.7). The vendors differ in which of
/// them exist outside 64-bit mode; the CPU model's vendor decides.
/// </summary>
internal static unsafe class Syscalls
{
    private const int Rcx = 1;
    private const int Rdx = 2;
    private const int Rsp = 4;
    private const int R11 = 11;

    // STAR (APM vol. 2, 6.1.1).
    private const int SyscallSelector = 32;
    private const int SysretSelector = 48;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Syscall] = &Syscall;
        table[(int)Mnemonic.Sysret] = &Sysret;
        table[(int)Mnemonic.Sysretq] = &Sysret;
        table[(int)Mnemonic.Sysenter] = &Sysenter;
        table[(int)Mnemonic.Sysexit] = &Sysexit;
        table[(int)Mnemonic.Sysexitq] = &Sysexit;
    }

    /// <summary>Makes from STAR what SYSCALL and SYSRET load in 64-bit mode, for translated code.</summary>
    public static void MakeSegments(NativeState* s)
    {
        var syscall = (ushort)(s->Star >> SyscallSelector);
        var sysret = (ushort)(s->Star >> SysretSelector);
        s->SyscallCs = FlatSegments.Code64(syscall, 0);
        s->SyscallSs = FlatSegments.Data((ushort)((syscall & ~3) + 8), 0);
        s->SysretCs = FlatSegments.Code64((ushort)(sysret + 16), 3);
        s->SysretSs = FlatSegments.Data((ushort)((sysret & ~3) + 8), 3);
    }

    public static void Syscall(SoftwareVcpu cpu, in Instruction insn)
    {
        NativeState* s = cpu.S;
        CheckSyscallExists(cpu);
        var selector = (ushort)(cpu.Star >> SyscallSelector);
        if (cpu.LongModeActive)
        {
            bool from64 = cpu.Code64;
            ulong flags = cpu.Rflags & ~RflagsBits.Rf;
            s->Gpr[Rcx] = cpu.NextRip;
            s->Gpr[R11] = flags;
            cpu.Rflags = flags & ~cpu.SyscallMask;
            s->Cs = FlatSegments.Code64(selector, 0);
            cpu.NextRip = from64 ? cpu.Lstar : cpu.Cstar;
        }
        else
        {
            s->Gpr[Rcx] = (uint)cpu.NextRip;
            s->SystemFlags &= ~(RflagsBits.Vm | RflagsBits.If | RflagsBits.Rf);
            s->Cs = FlatSegments.Code32(selector, 0);
            cpu.NextRip = (uint)cpu.Star;
        }

        s->Ss = FlatSegments.Data((ushort)((selector & ~3) + 8), 0);
        cpu.UpdateMode();
    }

    public static void Sysret(SoftwareVcpu cpu, in Instruction insn)
    {
        NativeState* s = cpu.S;
        CheckSyscallExists(cpu);
        if (cpu.Cpl != 0)
        {
            throw GuestException.Protection();
        }

        var selector = (ushort)(cpu.Star >> SysretSelector);
        if (insn.Code == Code.Sysretq)
        {
            // Intel checks the address here, at CPL 0; AMD lets the fetch at CPL 3 fault.
            if (cpu.Model.IsIntel && !SoftwareVcpu.IsCanonical(s->Gpr[Rcx]))
            {
                throw GuestException.Protection();
            }

            s->Cs = FlatSegments.Code64((ushort)(selector + 16), 3);
            cpu.NextRip = s->Gpr[Rcx];
        }
        else
        {
            s->Cs = FlatSegments.Code32(selector, 3);
            cpu.NextRip = (uint)s->Gpr[Rcx];
        }

        if (cpu.LongModeActive)
        {
            cpu.Rflags = s->Gpr[R11] & RflagsBits.Defined & ~(RflagsBits.Rf | RflagsBits.Vm);
        }
        else
        {
            s->SystemFlags |= RflagsBits.If;
        }

        s->Ss = FlatSegments.Data((ushort)((selector & ~3) + 8), 3);
        cpu.UpdateMode();
    }

    public static void Sysenter(SoftwareVcpu cpu, in Instruction insn)
    {
        NativeState* s = cpu.S;
        CheckSysenterExists(cpu);
        if (!cpu.ProtectedMode || (cpu.SysenterCs & 0xFFFC) == 0)
        {
            throw GuestException.Protection();
        }

        var selector = (ushort)cpu.SysenterCs;
        s->SystemFlags &= ~(RflagsBits.Vm | RflagsBits.If | RflagsBits.Rf);
        bool longMode = cpu.LongModeActive;
        s->Cs = longMode ? FlatSegments.Code64(selector, 0) : FlatSegments.Code32(selector, 0);
        s->Ss = FlatSegments.Data((ushort)((selector & ~3) + 8), 0);
        s->Gpr[Rsp] = longMode ? cpu.SysenterEsp : (uint)cpu.SysenterEsp;
        cpu.NextRip = longMode ? cpu.SysenterEip : (uint)cpu.SysenterEip;
        cpu.UpdateMode();
    }

    public static void Sysexit(SoftwareVcpu cpu, in Instruction insn)
    {
        NativeState* s = cpu.S;
        CheckSysenterExists(cpu);
        if (!cpu.SegmentProtection || cpu.Cpl != 0 || (cpu.SysenterCs & 0xFFFC) == 0)
        {
            throw GuestException.Protection();
        }

        int selector = (int)(cpu.SysenterCs & 0xFFFC);
        if (insn.Code == Code.Sysexitq)
        {
            if (!SoftwareVcpu.IsCanonical(s->Gpr[Rdx]) || !SoftwareVcpu.IsCanonical(s->Gpr[Rcx]))
            {
                throw GuestException.Protection();
            }

            s->Cs = FlatSegments.Code64((ushort)(selector + 32), 3);
            s->Ss = FlatSegments.Data((ushort)(selector + 40), 3);
            s->Gpr[Rsp] = s->Gpr[Rcx];
            cpu.NextRip = s->Gpr[Rdx];
        }
        else
        {
            s->Cs = FlatSegments.Code32((ushort)(selector + 16), 3);
            s->Ss = FlatSegments.Data((ushort)(selector + 24), 3);
            s->Gpr[Rsp] = (uint)s->Gpr[Rcx];
            cpu.NextRip = (uint)s->Gpr[Rdx];
        }

        cpu.UpdateMode();
    }

    private static void CheckSyscallExists(SoftwareVcpu cpu)
    {
        bool enabled = (cpu.S->Efer & EferBits.Sce) != 0 && cpu.SegmentProtection;
        if (!enabled || (cpu.Model.IsIntel && !cpu.Code64))
        {
            throw GuestException.Undefined();
        }
    }

    private static void CheckSysenterExists(SoftwareVcpu cpu)
    {
        if (cpu.LongModeActive && !cpu.Model.IsIntel)
        {
            throw GuestException.Undefined();
        }
    }
}
