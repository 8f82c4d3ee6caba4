using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Software;

// The architectural state, in and out.
internal sealed unsafe partial class SoftwareVcpu
{
    private const int MxcsrOffset = 24;
    private const int XstateBvOffset = 512;
    private const int XsaveHeaderSize = 64;

    public void GetState(CpuState state)
    {
        for (int i = 0; i < 16; i++)
        {
            state.Gpr[i] = S->Gpr[i];
        }

        state.Rip = S->Rip;
        state.Rflags = Rflags;
        for (int i = 0; i < 6; i++)
        {
            state.Segments[i] = ToRegister(Segment(i));
        }

        state.Ldtr = ToRegister(&S->Ldtr);
        state.Tr = ToRegister(&S->Tr);
        state.GdtrBase = S->GdtrBase;
        state.GdtrLimit = (ushort)S->GdtrLimit;
        state.IdtrBase = S->IdtrBase;
        state.IdtrLimit = (ushort)S->IdtrLimit;
        state.Cr0 = S->Cr0;
        state.Cr2 = S->Cr2;
        state.Cr3 = S->Cr3;
        state.Cr4 = S->Cr4;
        state.Cr8 = (ulong)Bus.TaskPriority >> 4;
        state.Efer = S->Efer;
        state.Xcr0 = S->Xcr0;
        for (int i = 0; i < 8; i++)
        {
            state.Dr[i] = S->Dr[i];
        }

        new ReadOnlySpan<byte>(S->Xsave, CpuModel.MaxXsaveSize).CopyTo(state.Xsave);
        SaveMsrs(state.Msrs);
        state.Halted = Halted;
        state.InterruptShadow = InterruptShadow;
        state.NmiBlocked = NmiBlocked;
        state.NmiPending = Volatile.Read(ref _nmiRequested) != 0;
    }

    /// <remarks>The XSAVE area may come from a hostile file; what the host's XRSTOR would refuse is cleared.</remarks>
    public void SetState(CpuState state)
    {
        for (int i = 0; i < 16; i++)
        {
            S->Gpr[i] = state.Gpr[i];
        }

        S->Rip = state.Rip;
        Rflags = state.Rflags;
        for (int i = 0; i < 6; i++)
        {
            Set(Segment(i), state.Segments[i]);
        }

        Set(&S->Ldtr, state.Ldtr);
        Set(&S->Tr, state.Tr);
        S->GdtrBase = state.GdtrBase;
        S->GdtrLimit = state.GdtrLimit;
        InterruptReturn.Forget(S);
        S->IdtrBase = state.IdtrBase;
        S->IdtrLimit = state.IdtrLimit;
        S->Cr0 = state.Cr0;
        S->Cr2 = state.Cr2;
        S->Cr3 = state.Cr3;
        S->Cr4 = state.Cr4;
        S->Efer = state.Efer;
        S->Xcr0 = state.Xcr0;
        for (int i = 0; i < 8; i++)
        {
            S->Dr[i] = state.Dr[i];
        }

        SetXsave(state.Xsave);
        LoadMsrs(state.Msrs);
        Halted = state.Halted;
        InterruptShadow = state.InterruptShadow;
        NmiBlocked = state.NmiBlocked;
        Volatile.Write(ref _nmiRequested, state.NmiPending ? 1 : 0);
        ShutdownPending = false;
        RaisedFault = default;
        _internalError = null;
        _carefulNext = false;
        _breakpointsHit = 0;
        DebugShadow = false;
        FlushTlb(keepGlobal: false);
        UpdateMode();
    }

    private void SetXsave(ReadOnlySpan<byte> image)
    {
        var area = new Span<byte>(S->Xsave, CpuModel.MaxXsaveSize);
        area.Clear();
        image[..Math.Min(image.Length, area.Length)].CopyTo(area);
        ulong* header = (ulong*)(S->Xsave + XstateBvOffset);
        header[0] &= S->XsaveMask;
        new Span<byte>(header + 1, XsaveHeaderSize - 8).Clear();
        uint* mxcsr = (uint*)(S->Xsave + MxcsrOffset);
        *mxcsr &= Model.MxcsrMask;
    }

    private static SegmentRegister ToRegister(NativeSegment* segment) => new()
    {
        Base = segment->Base,
        Limit = segment->Limit,
        Selector = segment->Selector,
        Attributes = segment->Attributes,
    };

    private static void Set(NativeSegment* segment, in SegmentRegister value)
    {
        segment->Base = value.Base;
        segment->Limit = value.Limit;
        segment->Selector = value.Selector;
        segment->Attributes = value.Attributes;
    }
}
