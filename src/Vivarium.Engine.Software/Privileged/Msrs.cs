using Iced.Intel;
using static Vivarium.Engine.Software.Privileged.MsrIndex;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// RDMSR and WRMSR (SDM vol. 2B). An unknown register is #GP(0), raised without a .NET exception, because systems probe for
/// registers that way.
/// </summary>
internal static unsafe class Msrs
{
    private const ulong AutomaticIbrsEnable = 1 << 21;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Rdmsr] = &Rdmsr;
        table[(int)Mnemonic.Wrmsr] = &Wrmsr;
    }

    private static void Rdmsr(SoftwareVcpu cpu, in Instruction insn)
    {
        cpu.RequireRing0();
        uint index = (uint)cpu.S->Gpr[1];
        bool done = TryRead(cpu, index, out ulong value);
        cpu.TraceMsrRead(index, value, done);
        if (!done)
        {
            cpu.Raise(Vector.GeneralProtection, 0);
            return;
        }

        cpu.WriteGpr(0, 4, value);
        cpu.WriteGpr(2, 4, value >> 32);
    }

    private static void Wrmsr(SoftwareVcpu cpu, in Instruction insn)
    {
        cpu.RequireRing0();
        ulong value = (cpu.S->Gpr[2] << 32) | (uint)cpu.S->Gpr[0];
        uint index = (uint)cpu.S->Gpr[1];
        bool done = TryWrite(cpu, index, value);
        cpu.TraceMsrWrite(index, value, done);
        if (!done)
        {
            cpu.Raise(Vector.GeneralProtection, 0);
        }
    }

    /// <summary>Reads a register as RDMSR does. False: #GP(0).</summary>
    public static bool TryRead(SoftwareVcpu cpu, uint index, out ulong value)
    {
        if (BelongsToBus(index))
        {
            return cpu.Bus.ReadMsr(index, out value);
        }

        NativeState* s = cpu.S;
        switch (index)
        {
            case Tsc:
                value = cpu.GuestTsc;
                return true;
            case TscAdjust:
                value = cpu.TscAdjust;
                return true;
            case MicrocodeRevision:
                value = MicrocodeRevisionOf(cpu.Model);
                return true;
            case MsrIndex.SysenterCs:
                value = cpu.SysenterCs;
                return true;
            case MsrIndex.SysenterEsp:
                value = cpu.SysenterEsp;
                return true;
            case MsrIndex.SysenterEip:
                value = cpu.SysenterEip;
                return true;
            case Efer:
                value = s->Efer;
                return true;
            case MsrIndex.Star:
                value = cpu.Star;
                return true;
            case MsrIndex.Lstar:
                value = cpu.Lstar;
                return true;
            case MsrIndex.Cstar:
                value = cpu.Cstar;
                return true;
            case MsrIndex.SyscallMask:
                value = cpu.SyscallMask;
                return true;
            case FsBase:
                value = s->Fs.Base;
                return true;
            case GsBase:
                value = s->Gs.Base;
                return true;
            case MsrIndex.KernelGsBase:
                value = cpu.KernelGsBase;
                return true;
            case MsrIndex.TscAux:
                value = cpu.TscAux;
                return true;
            default:
                return cpu.StoredMsrs.TryRead(index, out value);
        }
    }

    /// <summary>Writes a register as WRMSR does. False: #GP(0), nothing changed.</summary>
    public static bool TryWrite(SoftwareVcpu cpu, uint index, ulong value)
    {
        if (BelongsToBus(index))
        {
            return cpu.Bus.WriteMsr(index, value);
        }

        switch (index)
        {
            case Tsc:
                ulong delta = value - cpu.GuestTsc;
                cpu.S->TscOffset += delta;
                cpu.TscAdjust += delta;
                cpu.Bus.TscMoved();
                return true;
            case TscAdjust:
                cpu.S->TscOffset += value - cpu.TscAdjust;
                cpu.TscAdjust = value;
                cpu.Bus.TscMoved();
                return true;
            case PredCmd when cpu.Model.IsIntel:
                // IBPB: a barrier for branch predictors, which are the host's.
                return value <= 1;
            case MicrocodeRevision:
                // Written with 0 before CPUID, which is to load the revision; it is constant here.
                return true;
            case MicrocodeUpdateTrigger when cpu.Model.IsIntel:
            case AmdPatchLoader when !cpu.Model.IsIntel:
                return true;
            case MsrIndex.SysenterCs:
                cpu.SysenterCs = (uint)value;
                return true;
            case MsrIndex.SysenterEsp:
                return StoreCanonical(ref cpu.SysenterEsp, value);
            case MsrIndex.SysenterEip:
                return StoreCanonical(ref cpu.SysenterEip, value);
            case Efer:
                return TryWriteEfer(cpu, value);
            case MsrIndex.Star:
                cpu.Star = value;
                return true;
            case MsrIndex.Lstar:
                return StoreCanonical(ref cpu.Lstar, value);
            case MsrIndex.Cstar:
                return StoreCanonical(ref cpu.Cstar, value);
            case MsrIndex.SyscallMask:
                if (value >> 32 != 0)
                {
                    return false;
                }

                cpu.SyscallMask = value;
                return true;
            case FsBase:
                return StoreSegmentBase(cpu, &cpu.S->Fs, value);
            case GsBase:
                return StoreSegmentBase(cpu, &cpu.S->Gs, value);
            case MsrIndex.KernelGsBase:
                return StoreCanonical(ref cpu.KernelGsBase, value);
            case MsrIndex.TscAux:
                if (value >> 32 != 0)
                {
                    return false;
                }

                cpu.TscAux = value;
                return true;
            default:
                return cpu.StoredMsrs.TryWrite(index, value);
        }
    }

    /// <summary>The local APIC's and the paravirtual interface's registers.</summary>
    public static bool BelongsToBus(uint index)
        => index is ApicBase or TscDeadline
            or (>= X2ApicFirst and <= X2ApicLast)
            or KvmWallClock or KvmSystemTime
            or (>= ParavirtualFirst and <= ParavirtualLast);

    private static bool StoreCanonical(ref ulong field, ulong value)
    {
        if (!SoftwareVcpu.IsCanonical(value))
        {
            return false;
        }

        field = value;
        return true;
    }

    private static bool StoreSegmentBase(SoftwareVcpu cpu, NativeSegment* segment, ulong value)
    {
        if (!SoftwareVcpu.IsCanonical(value))
        {
            return false;
        }

        segment->Base = value;
        cpu.UpdateMode();
        return true;
    }

    /// <summary>Reserved bits, and a change of LME while paging is on, are #GP(0); LMA is read-only (SDM vol. 3A, 2.2.1).</summary>
    private static bool TryWriteEfer(SoftwareVcpu cpu, ulong value)
    {
        NativeState* s = cpu.S;
        ulong defined = EferBits.Sce | EferBits.Lme | EferBits.Lma | EferBits.Nxe;
        if (cpu.Model.Has(CpuFeature.AutomaticIbrs))
        {
            defined |= AutomaticIbrsEnable;
        }

        ulong changed = value ^ s->Efer;
        if ((value & ~defined) != 0 || ((changed & EferBits.Lme) != 0 && (s->Cr0 & Cr0Bits.Pg) != 0))
        {
            return false;
        }

        s->Efer = (value & ~EferBits.Lma) | (s->Efer & EferBits.Lma);
        if ((changed & EferBits.Nxe) != 0)
        {
            cpu.FlushTlb(keepGlobal: false);
        }

        cpu.UpdateMode();
        return true;
    }

    /// <summary>Intel reports it in the upper half. High enough that no system looks for an update.</summary>
    private static ulong MicrocodeRevisionOf(CpuModel model) => model.IsIntel ? 0xFFFF_FFFFul << 32 : 0xFFFF_FFFF;
}
