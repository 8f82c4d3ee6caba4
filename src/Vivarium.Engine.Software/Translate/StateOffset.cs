using System.Runtime.InteropServices;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Offsets of <see cref="NativeState"/>'s fields, as emitted code uses them: from <see cref="Bias"/> bytes into the block,
/// so that one byte reaches R12 to R15, the fields behind them and the beginning of the user's TLB.
/// </summary>
internal static unsafe class StateOffset
{
    /// <summary>What emitted code's pointer to the state block is ahead of the block's beginning.</summary>
    public const int Bias = (12 * sizeof(ulong)) + 128;

    // First, because the others are worked out from it. Never read or written; only its addresses matter.
    private static readonly NativeState* Sample = (NativeState*)NativeMemory.Alloc((nuint)sizeof(NativeState));

    public static readonly int Rip = Of(s => &s->Rip);
    public static readonly int ArithmeticFlags = Of(s => &s->ArithmeticFlags);
    public static readonly int SystemFlags = Of(s => &s->SystemFlags);
    public static readonly int ExitRequest = Of(s => &s->ExitRequest);
    public static readonly int HostStack = Of(s => &s->HostStack);
    public static readonly int HostStackEnd = Of(s => &s->HostStackEnd);
    public static readonly int CodePage = Of(s => &s->CodePage);
    public static readonly int FoundBlocks = Of(s => &s->FoundBlocks);
    public static readonly int CodeStart = Of(s => &s->CodeStart);
    public static readonly int InterruptRequested = Of(s => &s->InterruptRequested);
    public static readonly int KernelGsBase = Of(s => &s->KernelGsBase);
    public static readonly int TscAux = Of(s => &s->TscAux);
    public static readonly int ExtendedInMemory = Of(s => &s->ExtendedInMemory);
    public static readonly int Xsave = Of(s => &s->Xsave);
    public static readonly int XsaveMask = Of(s => &s->XsaveMask);
    public static readonly int TscOffset = Of(s => &s->TscOffset);
    public static readonly int SavedFlags = Of(s => &s->SavedFlags);
    public static readonly int Scratch = Of(s => &s->Scratch);
    public static readonly int JumpRcx = Of(s => &s->JumpRcx);
    public static readonly int JumpRax = Of(s => &s->JumpRax);
    public static readonly int JumpTarget = Of(s => &s->JumpTarget);
    public static readonly int JumpCode = Of(s => &s->JumpCode);
    public static readonly int ResolveCaller = Of(s => &s->ResolveCaller);
    public static readonly int ShiftedValue = Of(s => &s->ShiftedValue);
    public static readonly int ResolvedDelta = Of(s => &s->ResolvedDelta);
    public static readonly int SecondLevel = Of(s => &s->SecondLevel);
    public static readonly int ExitCode = Of(s => &s->ExitCode);
    public static readonly int ExitHostPc = Of(s => &s->ExitHostPc);
    public static readonly int ExitInfo = Of(s => &s->ExitInfo);
    public static readonly int FaultTrap = Of(s => &s->FaultTrap);
    public static readonly int FaultError = Of(s => &s->FaultError);
    public static readonly int FaultAddress = Of(s => &s->FaultAddress);
    public static readonly int ExitThunk = Of(s => &s->ExitThunk);
    public static readonly int GranuleBias = Of(s => &s->GranuleBias);
    public static readonly int HostMxcsr = Of(s => &s->HostMxcsr);
    public static readonly int Cr0 = Of(s => &s->Cr0);
    public static readonly int Cr2 = Of(s => &s->Cr2);
    public static readonly int Xcr0 = Of(s => &s->Xcr0);
    public static readonly int Cr3 = Of(s => &s->Cr3);
    public static readonly int Cr4 = Of(s => &s->Cr4);
    public static readonly int Efer = Of(s => &s->Efer);
    public static readonly int GdtrBase = Of(s => &s->GdtrBase);
    public static readonly int Mode = Of(s => &s->Mode);
    public static readonly int KernelMode = Of(s => &s->KernelMode);
    public static readonly int UserMode = Of(s => &s->UserMode);
    public static readonly int ReturnMode = Of(s => &s->ReturnMode);
    public static readonly int OuterReturn = Of(s => &s->OuterReturn);
    public static readonly int InnerReturn = Of(s => &s->InnerReturn);

    // In a NativeReturn.
    public static readonly int ReturnCsSelector = OfReturn(r => &r->CsSelector);
    public static readonly int ReturnSsSelector = OfReturn(r => &r->SsSelector);
    public static readonly int ReturnCs = OfReturn(r => &r->Cs);
    public static readonly int ReturnSs = OfReturn(r => &r->Ss);
    public static readonly int ReturnCsDescriptor = OfReturn(r => &r->CsDescriptor);
    public static readonly int ReturnSsDescriptor = OfReturn(r => &r->SsDescriptor);
    public static readonly int SyscallCs = Of(s => &s->SyscallCs);
    public static readonly int SyscallSs = Of(s => &s->SyscallSs);
    public static readonly int SysretCs = Of(s => &s->SysretCs);
    public static readonly int SysretSs = Of(s => &s->SysretSs);
    public static readonly int Lstar = Of(s => &s->Lstar);
    public static readonly int SyscallMask = Of(s => &s->SyscallMask);
    public static readonly int NmiBlocked = Of(s => &s->NmiBlocked);
    public static readonly int LoopPages = Of(s => &s->LoopPages);
    public static readonly int LoopWindows = Of(s => &s->LoopWindows);
    public static readonly int Es = Of(s => &s->Es);
    public static readonly int KnownDelta = Of(s => &s->KnownDelta);
    public static readonly int UserStack = Of(s => &s->UserStack);
    public static readonly int UserTlb = Of(s => &s->UserTlb);
    public static readonly int UserPages = Of(s => &s->UserPages);
    public static readonly int UserLocal = Of(s => &s->UserLocal);
    public static readonly int UserJumpsFilled = Of(s => &s->UserJumpsFilled);
    public static readonly int UserSitesFilled = Of(s => &s->UserSitesFilled);
    public static readonly int UserSites = Of(s => &s->UserSites);
    public static readonly int UserJumps = Of(s => &s->UserJumps);

    /// <summary>Offsets within a <see cref="NativeSegment"/>.</summary>
    public static readonly int SegmentBase = OfSegment(s => &s->Base);
    public static readonly int SegmentLimit = OfSegment(s => &s->Limit);
    public static readonly int SegmentAttributes = OfSegment(s => &s->Attributes);
    public static readonly int SegmentSelector = OfSegment(s => &s->Selector);
    public static readonly int SegmentReadEnd = OfSegment(s => &s->ReadEnd);
    public static readonly int SegmentWriteEnd = OfSegment(s => &s->WriteEnd);

    private delegate void* Field(NativeState* state);

    private delegate void* SegmentField(NativeSegment* segment);

    private delegate void* ReturnField(NativeReturn* target);

    public static int Gpr(int index) => (index * 8) - Bias;

    /// <summary>Segment register by encoding, ES = 0.</summary>
    public static int Segment(int index) => Es + (index * sizeof(NativeSegment));

    public static int Tlb(AddressSpace space) => UserTlb + ((int)space * sizeof(NativeTlb));

    /// <summary>Of user or supervisor.</summary>
    public static int StackPage(AddressSpace space) => UserStack + ((int)space * sizeof(NativeStackPage));

    public static int ExecutedPages(AddressSpace space) => UserPages + (space == AddressSpace.User ? 0 : sizeof(NativeExecutedPages));

    public static int LocalPages(AddressSpace space) => UserLocal + ((int)space * sizeof(NativeFilled));

    public static int FilledJumps(AddressSpace space) => UserJumpsFilled + ((int)space * sizeof(NativeFilled));

    public static int Jumps(AddressSpace space) => UserJumps + ((int)space * sizeof(NativeJumpCache));

    private static int Of(Field field) => (int)((byte*)field(Sample) - (byte*)Sample) - Bias;

    private static int OfReturn(ReturnField field) => (int)((byte*)field(&Sample->OuterReturn) - (byte*)&Sample->OuterReturn);

    private static int OfSegment(SegmentField field) => (int)((byte*)field(&Sample->Es) - (byte*)&Sample->Es);
}
