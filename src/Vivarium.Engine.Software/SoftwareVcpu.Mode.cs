using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software;

// What translated code is specialised for.
internal sealed unsafe partial class SoftwareVcpu
{
    private const ulong BreakpointsEnabled = 0xFF;
    private const uint CodeSegmentType = 8;

    private const uint Conforming = CodeSegmentType | 4;

    /// <summary>What a mode has from the control registers, whatever the privilege level.</summary>
    private const BlockMode OfControlRegisters = BlockMode.Protected | BlockMode.Emulate | BlockMode.Sse | BlockMode.Avx | BlockMode.Avx512;

    private readonly BlockMode[] _jumpModes = new BlockMode[Spaces];

    private readonly ulong[] _jumpSegments = new ulong[Spaces];

    private BlockMode Mode => S->Mode;

    /// <summary>
    /// To be called after any change of CR0, CR4, EFER, XCR0, CPL, EFLAGS.TF/AC/VM, DR7 or a segment register:
    /// recomputes what translated code may take for granted (segment limits, the block mode).
    /// </summary>
    public void UpdateMode()
    {
        BlockMode mode = 0;
        int cpl = Cpl;
        ulong codeSegment = 0;
        if (Code64)
        {
            mode |= BlockMode.Code64;
        }
        else
        {
            mode |= (S->Cs.Attributes & SegmentRegister.Big) != 0 ? BlockMode.Code32 : 0;
            mode |= (S->Ss.Attributes & SegmentRegister.Big) != 0 ? BlockMode.Stack32 : 0;
            for (int i = 0; i < 6; i++)
            {
                SetAccessEnds(Segment(i));
            }

            mode |= IsFlat() ? BlockMode.Flat : 0;
            codeSegment = S->Cs.Base | ((ulong)S->Cs.Limit << 32);
        }

        bool alignmentCheck = S->SystemFlags.Has(RflagsBits.Ac);
        mode |= cpl == 0 ? BlockMode.Ring0 : 0;
        mode |= cpl == 3 ? BlockMode.User : alignmentCheck ? BlockMode.SupervisorAc : 0;
        mode |= ProtectedMode && !Virtual8086 ? BlockMode.Protected : 0;
        mode |= S->Cr0.Has(Cr0Bits.Em) ? BlockMode.Emulate : 0;
        mode |= S->Cr4.Has(Cr4Bits.OsFxsr) && !S->Cr0.Has(Cr0Bits.Em) ? BlockMode.Sse : 0;
        if (S->Cr4.Has(Cr4Bits.OsXsave) && (mode & BlockMode.Protected) != 0)
        {
            mode |= (S->Xcr0 & 0x6) == 0x6 ? BlockMode.Avx : 0;
            mode |= (S->Xcr0 & 0xE6) == 0xE6 ? BlockMode.Avx512 : 0;
        }

        mode |= cpl == 0 || !S->Cr4.Has(Cr4Bits.Tsd) ? BlockMode.Rdtsc : 0;
        if (S->SystemFlags.Has(RflagsBits.Tf) || (S->Dr[7] & BreakpointsEnabled) != 0
            || (cpl == 3 && alignmentCheck && S->Cr0.Has(Cr0Bits.Am))
            || (_debug is not null && MustStepForDebugger))
        {
            mode |= BlockMode.Stepping;
        }

        S->Mode = mode;
        Adopt(mode.Space(), mode, codeSegment);
        if ((mode & (BlockMode.Ring0 | BlockMode.Code64)) == (BlockMode.Ring0 | BlockMode.Code64))
        {
            // Translated code goes from one to the other by itself.
            BlockMode other = mode ^ BlockMode.SupervisorAc;
            Adopt(other.Space(), other, 0);
        }

        FindDirectModes(mode);
    }

    /// <summary>A jump cache holds blocks of one mode only.</summary>
    private void Adopt(AddressSpace space, BlockMode mode, ulong codeSegment)
    {
        if (_jumpModes[(int)space] != mode || _jumpSegments[(int)space] != codeSegment)
        {
            _jumpModes[(int)space] = mode;
            _jumpSegments[(int)space] = codeSegment;
            FlushJumps(space);
        }
    }

    private void FindDirectModes(BlockMode mode)
    {
        S->KernelMode = S->UserMode = S->ReturnMode = 0;
        if (!LongModeActive || (mode & BlockMode.Stepping) != 0)
        {
            return;
        }

        BlockMode common = (mode & OfControlRegisters) | BlockMode.Code64;
        BlockMode kernel = common | BlockMode.Ring0 | BlockMode.Rdtsc;
        BlockMode user = common | BlockMode.User | (S->Cr4.Has(Cr4Bits.Tsd) ? 0 : BlockMode.Rdtsc);
        S->KernelMode = IsAdopted(AddressSpace.Supervisor, kernel) && IsAdopted(AddressSpace.SupervisorAc, kernel | BlockMode.SupervisorAc) ? kernel : 0;
        S->UserMode = IsAdopted(AddressSpace.User, user) ? user : 0;
        bool kept = StaysInRing3(&S->Es) && StaysInRing3(&S->Ds) && StaysInRing3(&S->Fs) && StaysInRing3(&S->Gs);
        S->ReturnMode = kept ? S->UserMode : 0;
    }

    private bool IsAdopted(AddressSpace space, BlockMode mode) => _jumpModes[(int)space] == mode && _jumpSegments[(int)space] == 0;

    /// <summary>IRET to ring 3 leaves a data segment alone (SDM vol. 2, IRET).</summary>
    private static bool StaysInRing3(NativeSegment* segment)
        => (segment->Attributes & SegmentRegister.Unusable) != 0
            || (segment->Attributes >> SegmentRegister.DplShift & 3) == 3
            || (segment->Attributes & Conforming) == Conforming;

    /// <summary>Code, data and stack segments cover all 4 GiB from 0, with all rights.</summary>
    private bool IsFlat()
        => IsFlat(&S->Es) && IsFlat(&S->Ss) && IsFlat(&S->Ds)
            && S->Cs.Base == 0 && S->Cs.Limit == uint.MaxValue && S->Cs.ReadEnd != 0;

    private static bool IsFlat(NativeSegment* segment) => segment->Base == 0 && segment->WriteEnd == 1ul << 32 && segment->ReadEnd == 1ul << 32;

    private static void SetAccessEnds(NativeSegment* segment)
    {
        uint attributes = segment->Attributes;
        segment->ReadEnd = segment->WriteEnd = 0;
        if ((attributes & SegmentRegister.Unusable) != 0 || (attributes & SegmentRegister.Present) == 0
            || (attributes & SegmentRegister.CodeOrData) == 0)
        {
            return;
        }

        ulong end = segment->Limit + 1ul;
        bool code = (attributes & CodeSegmentType) != 0;
        if (code)
        {
            segment->ReadEnd = (attributes & ReadableOrWritable) != 0 ? end : 0;
        }
        else if ((attributes & ExpandDown) == 0)
        {
            segment->ReadEnd = end;
            segment->WriteEnd = (attributes & ReadableOrWritable) != 0 ? end : 0;
        }
    }
}
