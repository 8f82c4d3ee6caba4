using System.Buffers.Binary;
using Vivarium.Engine;
using Vivarium.Firmware.Boot;

namespace Vivarium.Cpu;

/// <summary>The processor as a boot loader's firmware leaves it: reset values (SDM vol. 3A, 10.1.1), then what the loader asks for.</summary>
internal static class BootState
{
    private const uint Ia32TimeStampCounter = 0x10;
    private const uint Ia32MiscEnable = 0x1A0;
    private const uint Ia32Pat = 0x277;
    private const uint Ia32MtrrDefType = 0x2FF;

    /// <summary>Fast-string operation enabled (SDM vol. 4, IA32_MISC_ENABLE).</summary>
    private const ulong FastStrings = 1;

    /// <summary>The power-on value: WB, WT, UC-, UC, twice (SDM vol. 3A, 12.12.4).</summary>
    private const ulong PatReset = 0x0007_0406_0007_0406;

    /// <summary>MTRRs enabled, everything write-back (SDM vol. 3A, 12.11.2.1).</summary>
    private const ulong MtrrEnabledWriteBack = (1 << 11) | 6;

    private const ulong Dr6Reset = 0xFFFF_0FF0;
    private const ulong Dr7Reset = 0x400;
    private const ushort FcwReset = 0x037F;
    private const uint MxcsrReset = 0x1F80;
    private const int XsaveMxcsrOffset = 24;

    public static CpuState Create(EntryState entry)
    {
        var state = new CpuState
        {
            Rip = entry.Rip,
            Rflags = entry.Rflags,
            GdtrBase = entry.GdtBase,
            GdtrLimit = entry.GdtLimit,
            IdtrBase = entry.IdtBase,
            IdtrLimit = entry.IdtLimit,
            Cr0 = entry.Cr0,
            Cr3 = entry.Cr3,
            Cr4 = entry.Cr4,
            Efer = entry.Efer,
            Tr = Segment(entry.Tr),
            Ldtr = Segment(entry.Ldtr),
        };
        state.Gpr[0] = entry.Rax;
        state.Gpr[1] = entry.Rcx;
        state.Gpr[2] = entry.Rdx;
        state.Gpr[3] = entry.Rbx;
        state.Gpr[4] = entry.Rsp;
        state.Gpr[5] = entry.Rbp;
        state.Gpr[6] = entry.Rsi;
        state.Gpr[7] = entry.Rdi;
        state.Segments[0] = Segment(entry.Es);
        state.Segments[1] = Segment(entry.Cs);
        state.Segments[2] = Segment(entry.Ss);
        state.Segments[3] = Segment(entry.Ds);
        state.Segments[4] = Segment(entry.Fs);
        state.Segments[5] = Segment(entry.Gs);
        state.Dr[6] = Dr6Reset;
        state.Dr[7] = Dr7Reset;
        BinaryPrimitives.WriteUInt16LittleEndian(state.Xsave, FcwReset);
        BinaryPrimitives.WriteUInt32LittleEndian(state.Xsave.AsSpan(XsaveMxcsrOffset), MxcsrReset);
        state.Msrs[Ia32TimeStampCounter] = 0;
        state.Msrs[Ia32MiscEnable] = FastStrings;
        state.Msrs[Ia32Pat] = PatReset;
        state.Msrs[Ia32MtrrDefType] = MtrrEnabledWriteBack;
        return state;
    }

    private static SegmentRegister Segment(SegmentState from) => new()
    {
        Selector = from.Selector,
        Base = from.Base,
        Limit = from.Limit,
        Attributes = from.Attributes,
    };
}
