using Vivarium.Engine;
using Vivarium.Firmware.Boot;

namespace Vivarium.Cpu;

/// <summary>The first processor as a boot loader's firmware leaves it: reset values, then what the loader asks for.</summary>
internal static class BootState
{
    /// <param name="entry">What the loader asks for.</param>
    /// <param name="signature">CPUID leaf 1, EAX.</param>
    public static CpuState Create(EntryState entry, uint signature)
    {
        CpuState state = ResetState.PowerUp(signature);
        state.Rip = entry.Rip;
        state.Rflags = entry.Rflags;
        state.GdtrBase = entry.GdtBase;
        state.GdtrLimit = entry.GdtLimit;
        state.IdtrBase = entry.IdtBase;
        state.IdtrLimit = entry.IdtLimit;
        state.Cr0 = entry.Cr0;
        state.Cr3 = entry.Cr3;
        state.Cr4 = entry.Cr4;
        state.Efer = entry.Efer;
        state.Tr = Segment(entry.Tr);
        state.Ldtr = Segment(entry.Ldtr);
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
