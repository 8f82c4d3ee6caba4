using System.Buffers.Binary;
using Vivarium.Engine;

namespace Vivarium.Cpu;

/// <summary>The processor after power-up, INIT and a start-up message (SDM vol. 3A, 10.1.1 and 9.4.4).</summary>
internal static class ResetState
{
    private const uint Ia32MiscEnable = 0x1A0;
    private const uint Ia32Pat = 0x277;
    private const uint Ia32MtrrDefType = 0x2FF;

    /// <summary>Fast-string operation enabled (SDM vol. 4, IA32_MISC_ENABLE).</summary>
    private const ulong FastStrings = 1;

    /// <summary>The power-on value: WB, WT, UC-, UC, twice (SDM vol. 3A, 12.12.4).</summary>
    private const ulong PatReset = 0x0007_0406_0007_0406;

    /// <summary>MTRRs enabled, everything write-back (SDM vol. 3A, 12.11.2.1), as firmware leaves them.</summary>
    private const ulong MtrrEnabledWriteBack = (1 << 11) | 6;

    private const ulong Cr0CacheBits = 0x6000_0000;
    private const ulong Cr0ExtensionType = 1 << 4;
    private const ulong Dr6Reset = 0xFFFF_0FF0;
    private const ulong Dr7Reset = 0x400;
    private const ushort FcwReset = 0x037F;
    private const uint MxcsrReset = 0x1F80;
    private const int XsaveMxcsrOffset = 24;

    private const int Rdx = 2;
    private const int Cs = 1;
    private const ulong ResetRip = 0xFFF0;
    private const ushort ResetCodeSelector = 0xF000;
    private const ulong ResetCodeBase = 0xFFFF_0000;
    private const ushort RealModeLimit = 0xFFFF;
    private const uint DataAttributes = 0x93;
    private const uint CodeAttributes = 0x9B;
    private const uint LdtAttributes = 0x82;
    private const uint BusyTssAttributes = 0x8B;

    /// <param name="signature">CPUID leaf 1, EAX: what RDX holds.</param>
    public static CpuState PowerUp(uint signature)
    {
        var state = new CpuState { Cr0 = Cr0CacheBits };
        BinaryPrimitives.WriteUInt16LittleEndian(state.Xsave, FcwReset);
        BinaryPrimitives.WriteUInt32LittleEndian(state.Xsave.AsSpan(XsaveMxcsrOffset), MxcsrReset);
        Initialize(state, signature);
        state.Msrs[Ia32MiscEnable] = FastStrings;
        state.Msrs[Ia32Pat] = PatReset;
        state.Msrs[Ia32MtrrDefType] = MtrrEnabledWriteBack;
        return state;
    }

    /// <summary>
    /// INIT: like power-up, but CR0.CD and CR0.NW, the x87 and vector state, XCR0 and the model-specific registers (the time-stamp
    /// counter among them) stay.
    /// </summary>
    public static void Initialize(CpuState state, uint signature)
    {
        Array.Clear(state.Gpr);
        state.Gpr[Rdx] = signature;
        state.Rip = ResetRip;
        state.Rflags = 2;
        for (int i = 0; i < state.Segments.Length; i++)
        {
            state.Segments[i] = new SegmentRegister { Limit = RealModeLimit, Attributes = DataAttributes };
        }

        state.Segments[Cs] = new SegmentRegister { Selector = ResetCodeSelector, Base = ResetCodeBase, Limit = RealModeLimit, Attributes = CodeAttributes };
        state.Ldtr = new SegmentRegister { Limit = RealModeLimit, Attributes = LdtAttributes };
        state.Tr = new SegmentRegister { Limit = RealModeLimit, Attributes = BusyTssAttributes };
        state.GdtrBase = 0;
        state.GdtrLimit = RealModeLimit;
        state.IdtrBase = 0;
        state.IdtrLimit = RealModeLimit;
        state.Cr0 = (state.Cr0 & Cr0CacheBits) | Cr0ExtensionType;
        state.Cr2 = 0;
        state.Cr3 = 0;
        state.Cr4 = 0;
        state.Efer = 0;
        Array.Clear(state.Dr);
        state.Dr[6] = Dr6Reset;
        state.Dr[7] = Dr7Reset;
        state.Halted = false;
        state.InterruptShadow = false;
        state.NmiBlocked = false;
        state.NmiPending = false;

        // Absent, so that they keep their values to the tick.
        state.Msrs.Clear();
    }

    /// <summary>SIPI: an initialized processor starts in real mode at the page that <paramref name="vector"/> names.</summary>
    public static void Start(CpuState state, byte vector)
    {
        state.Segments[Cs].Selector = (ushort)(vector << 8);
        state.Segments[Cs].Base = (ulong)vector << 12;
        state.Rip = 0;
        state.Msrs.Clear();
    }
}
