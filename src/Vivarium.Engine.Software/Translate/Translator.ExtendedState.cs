using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Privileged;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// XSAVE, XSAVEC and XRSTOR of 64-bit code (SDM vol. 1, 13.7 to 13.10) as the host's own: on what the guest's XCR0 has, where
// the whole area can be accessed and nothing about it faults. All else is for Privileged/ExtendedState.
internal sealed unsafe partial class Translator
{
    private const int AreaAlignment = 64;
    private const int CarryClearCondition = 3;

    /// <summary>The host has XSAVEC, and the compacted form with it; guests may have it without.</summary>
    private static readonly bool HostCompacts = CpuModel.HostHas(CpuFeature.XsaveC);

    /// <summary>All components of XCR0 without and with AVX-512: nothing else can be set where the mode has the vector extension.</summary>
    private const ulong AvxComponents = 0x7, Avx512Components = 0xE7;

    /// <summary>CR4.OSXSAVE is set, CR0.EM is not, and the operand has no segment base.</summary>
    private bool MaySaveExtended(in Instruction instruction)
    {
        const BlockMode needed = BlockMode.Sse | BlockMode.Avx;
        return Options.Has(Optimizations.ExtendedSaves) && (_mode & needed) == needed && SegmentOf(instruction) < SegmentFs
            && (HostCompacts || instruction.Mnemonic != Mnemonic.Xsavec64);
    }

    private void EmitExtendedSave(in Instruction instruction)
    {
        bool restore = instruction.Mnemonic == Mnemonic.Xrstor64;
        int size = Model.StandardXsaveSize((_mode & BlockMode.Avx512) != 0 ? Avx512Components : AvxComponents);
        var trap = (ulong)AddTrap(instruction);
        _ = EmitExtendedCheck(ExtendedKind.Avx, memory: true);

        // Misalignment is reported before anything about the page.
        EmitOffset(instruction, 0);
        DestroyFlags();
        _e.Rr(0xF6, 0, T1, wide: false);        // test
        _e.Byte(AreaAlignment - 1);
        Trap(trap, JnzCondition);
        HostOperand area = EmitAccess(SegmentOf(instruction), size, read: true, write: !restore);
        if (area.Index >= 0)
        {
            _e.Rx(0x8D, T1, area.Base, area.Index, 0, 0); // lea
        }

        DestroyFlags();
        if (restore)
        {
            EmitHeaderChecks(trap);
        }

        _e.Push(Rax);
        _e.Push(Rdx);
        _e.Rm(0x23, Rax, State, StateOffset.Xcr0, wide: false); // and
        _e.Rm(0x23, Rdx, State, StateOffset.Xcr0 + 4, wide: false);
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Xrstor64:
                _e.Rm(0x0FAE, 5, T1, 0);
                break;
            case Mnemonic.Xsavec64:
                _e.Rm(0x0FC7, 4, T1, 0);
                break;
            default:
                _e.Rm(0x0FAE, 4, T1, 0);
                break;
        }

        if (!restore)
        {
            // The x87 instruction and data pointers are the host's addresses: nothing for guests.
            _e.Rm(0x23, Rax, T1, ExtendedArea.StateBitmap, wide: false); // and: what was saved
            _e.Rr(0xF6, 0, Rax, wide: false);   // test
            _e.Byte(1 << ExtendedArea.X87);
            byte* notSaved = _e.ShortForward(0x70 | JzCondition);
            for (int i = 0; i < ExtendedArea.PointersSize; i += sizeof(ulong))
            {
                _e.Rm(0xC7, 0, T1, ExtendedArea.Pointers + i); // mov
                _e.Dword(0);
            }

            _e.LandShort(notSaved);
        }

        _e.Pop(Rdx);
        _e.Pop(Rax);
        EndCheck();
    }

    /// <summary>XRSTOR must not fault: its rules for header and MXCSR, as the guest's XCR0 makes them. T1 = the area, T2 is lost.</summary>
    private void EmitHeaderChecks(ulong trap)
    {
        const int mxcsr = ExtendedArea.Mxcsr, present = ExtendedArea.StateBitmap, compaction = ExtendedArea.CompactionBitmap;
        _e.Load(T2, T1, mxcsr, wide: false);
        _e.Rr(0xF7, 0, T2, wide: false);        // test
        _e.Dword((int)~Model.MxcsrMask);
        Trap(trap, JnzCondition);
        _e.LoadState(T2, StateOffset.Xcr0);
        _e.Rr(0xF7, 2, T2);                     // not
        _e.Rm(0x85, T2, T1, present);           // test
        Trap(trap, JnzCondition);

        // The standard form has zeros in the 16 bytes behind.
        _e.Load(T2, T1, compaction);
        _e.Rr(0x85, T2, T2);
        byte* standard = _e.JumpForward(JzCondition);
        if (!HostCompacts || !Model.Has(CpuFeature.XsaveC))
        {
            Trap(trap, -1);
        }

        _e.Rr(0x0FBA, 6, T2);                   // btr: carry if it is compacted
        _e.Byte(63);
        Trap(trap, CarryClearCondition);
        _e.Rm(0x0B, T2, State, StateOffset.Xcr0); // or
        _e.Rm(0x3B, T2, State, StateOffset.Xcr0); // cmp
        Trap(trap, JnzCondition);
        _e.Load(T2, T1, compaction);
        _e.Rr(0xF7, 2, T2);
        _e.Rm(0x85, T2, T1, present);
        Trap(trap, JnzCondition);
        _e.Load(T2, T1, compaction + 8);
        for (int i = compaction + 16; i < present + ExtendedArea.HeaderSize; i += sizeof(ulong))
        {
            _e.Rm(0x0B, T2, T1, i);             // or
        }

        byte* compacted = _e.JumpForward(-1);
        _e.Land(standard);
        _e.Load(T2, T1, compaction + 8);
        _e.Land(compacted);
        _e.Rr(0x85, T2, T2);
        Trap(trap, JnzCondition);
    }

    private void Trap(ulong trap, int condition) => _cold.Add(new ColdPart(ColdKind.Trap, _rip, _e.JumpForward(condition), null, trap, _flags));
}
