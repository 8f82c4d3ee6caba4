using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Memory operands: T1 = offset in the segment, then T1 = host address.
internal sealed unsafe partial class Translator
{
    private const int SegmentCs = 1;
    private const int SegmentSs = OperandSegment.Ss;
    private const int SegmentFs = OperandSegment.Fs;
    private const int SegmentGs = OperandSegment.Gs;

    private int SegmentOf(in Instruction instruction) => OperandSegment.Of(instruction, CodeBits == 64);

    /// <summary>T1 = the memory operand's offset plus <paramref name="adjust"/>, address size applied. Keeps flags.</summary>
    private void EmitOffset(in Instruction instruction, int adjust) => EmitOffset(instruction, adjust, T1, narrow: false);

    /// <summary>As above, to any register. T1 is lost, and T2 if there is an index.</summary>
    /// <param name="narrow">Only the lower half is wanted; the upper one becomes 0.</param>
    private void EmitOffset(in Instruction instruction, int adjust, int to, bool narrow)
    {
        Register @base = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        ulong displacement = instruction.MemoryDisplacement64 + (ulong)adjust;
        if (index == Register.None && (@base == Register.None || @base.GetFullRegister() == Register.RIP))
        {
            // Iced has added RIP already.
            if (@base == Register.RIP)
            {
                if (adjust == 0 && IsFarOperand(instruction))
                {
                    _e.MovFarOperand(to, displacement, DisplacementPlace(instruction), _guest[_index].End);
                }
                else
                {
                    _e.MovRip(to, displacement);
                }

                if (narrow)
                {
                    _e.Mov32Rr(to, to);
                }

                return;
            }

            if (@base == Register.EIP && Floating)
            {
                _e.MovRip(to, displacement | (_source.Rip & ~(ulong)uint.MaxValue));
                _e.Mov32Rr(to, to);
                return;
            }

            if (@base == Register.EIP)
            {
                _e.Relocations.GiveUp();
            }

            bool far = CodeBits == 64 && instruction.MemoryDisplSize == 8;
            ulong address = far ? displacement : NoBase(instruction, displacement);
            _e.MovImm(to, narrow ? (uint)address : address);
            NoteDisplacement(instruction, adjust);
            return;
        }

        int size = (@base != Register.None ? @base : index).GetSize();
        int baseHost = @base == Register.None ? -1 : HostOrLoad(@base, T1);
        int indexHost = index == Register.None ? -1 : HostOrLoad(index, T2);
        int disp = (int)displacement;
        bool wide = size == 8 && !narrow;
        if (indexHost < 0 && disp == 0 && size == 8)
        {
            if (narrow || baseHost != to)
            {
                _e.Rr(0x89, baseHost, to, wide);
            }
        }
        else if (indexHost < 0)
        {
            _e.Lea(to, baseHost, disp, wide);
        }
        else
        {
            int scale = instruction.MemoryIndexScale switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 };
            if (baseHost < 0)
            {
                _e.RxNoBase(0x8D, to, indexHost, scale, disp, wide);
            }
            else
            {
                _e.Rx(0x8D, to, baseHost, indexHost, scale, disp, wide);
            }
        }

        NoteDisplacement(instruction, adjust);
        if (size == 2)
        {
            _e.Rr(0x0FB7, to, to, wide: false); // movzx
        }
    }

    /// <summary>The host instruction just written ends, as the guest's address does, with a displacement that may be any in a copy.</summary>
    private void NoteDisplacement(in Instruction instruction, int adjust)
    {
        if (adjust == 0 && IsMovableDisplacement(instruction))
        {
            _e.NoteImmediate(DisplacementPlace(instruction));
        }
    }

    /// <summary>As <see cref="IsMovableImmediate"/>, of a displacement. It is to stand in one place of the translation only.</summary>
    private bool IsMovableDisplacement(in Instruction instruction)
        => _e.Relocations.Wanted && instruction.MemoryDisplSize == sizeof(ulong) && instruction.MemoryBase is not (Register.RIP or Register.EIP)
            && Relocations.MayBeKernelAddress(instruction.MemoryDisplacement64) && instruction.Encoding == EncodingKind.Legacy && DisplacementPlace(instruction) >= 0;

    private bool IsFarOperand(in Instruction instruction)
        => _e.Relocations.Wanted && !Floating && instruction.MemoryBase == Register.RIP && Relocations.IsFarOperand(_source.Rip, instruction.MemoryDisplacement64)
            && instruction.Encoding == EncodingKind.Legacy && DisplacementPlace(instruction) >= 0;

    /// <summary>Where the four bytes of a displacement stand in the block's guest code: before the immediate operands. -1: not there.</summary>
    private int DisplacementPlace(in Instruction instruction)
    {
        int immediates = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            immediates += instruction.GetOpKind(i) switch
            {
                OpKind.Immediate8 or OpKind.Immediate8to16 or OpKind.Immediate8to32 or OpKind.Immediate8to64 or OpKind.Immediate8_2nd => sizeof(byte),
                OpKind.Immediate16 => sizeof(ushort),
                OpKind.Immediate32 or OpKind.Immediate32to64 => sizeof(int),
                _ => 0,
            };
        }

        ref readonly GuestInstruction guest = ref _guest[_index];
        int inInstruction = guest.Length - immediates - sizeof(int);
        ulong relativeTo = instruction.MemoryBase == Register.RIP ? guest.NextRip : 0;
        return inInstruction > 0 && (int)(instruction.MemoryDisplacement64 - relativeTo) == BitConverter.ToInt32(guest.Code.Slice(inInstruction, sizeof(int)))
            ? guest.End - guest.Length + inInstruction
            : -1;
    }

    /// <summary>A bare displacement: sign-extended in 64-bit mode unless the address size is 32.</summary>
    private ulong NoBase(in Instruction instruction, ulong displacement) => CodeBits switch
    {
        64 when instruction.MemoryBase == Register.EIP => (uint)displacement,
        64 => displacement,
        _ => instruction.MemoryDisplSize == 2 ? (ushort)displacement : (uint)displacement,
    };

    private int HostOrLoad(Register register, int scratch) => HostOrLoad(GuestNumber(register), scratch);

    private int HostOrLoad(int guest, int scratch)
    {
        int host = Of(guest);
        if (host >= 0)
        {
            return host;
        }

        _e.LoadState(scratch, StateOffset.Gpr(guest));
        return scratch;
    }

    /// <summary>
    /// Checks an instruction's memory operand, and says where it stands in the host. T1 and T2 are lost, the flags may be
    /// saved; all else is kept. On failure the instruction faults, or runs by its careful translation.
    /// </summary>
    /// <param name="adjust">Added to the operand's address.</param>
    /// <param name="direct">The operand may be reached by the guest's own base register: it does not change before the access.</param>
    private HostOperand EmitMemory(in Instruction instruction, int size, bool read, bool write, AccessRules rules = AccessRules.None, int adjust = 0, bool direct = true)
    {
        Register @base = instruction.MemoryBase;
        if (InRun)
        {
            int displacement = (int)instruction.MemoryDisplacement64;
            return OfGuest(@base) < 0 ? new HostOperand(T2, -1, displacement) : new HostOperand(OfGuest(@base), T2, displacement + (OfGuest(@base) == GuestRsp ? _movedStack : 0));
        }

        int window = adjust == 0 ? WindowAccessOf(size, write) : -1;
        direct = direct && instruction.MemoryIndex == Register.None && @base.IsGPR64() && !IsMovableDisplacement(instruction);
        if (direct && @base == Register.RSP && SegmentOf(instruction) < SegmentFs && KnowsStack((int)instruction.MemoryDisplacement64 + adjust, (int)instruction.MemoryDisplacement64 + adjust + size, write))
        {
            _e.LoadState(T2, StateOffset.KnownDelta);
            return new HostOperand(GuestRsp, T2, (int)instruction.MemoryDisplacement64 + adjust);
        }

        if (window >= 0 && _secondRound)
        {
            bool byBase = direct && OfGuest(@base) >= 0;
            if (!byBase)
            {
                EmitOffset(instruction, adjust);
            }

            _e.LoadState(T2, DeltaOfAccess(window));
            return byBase ? new HostOperand(OfGuest(@base), T2, (int)instruction.MemoryDisplacement64) : new HostOperand(T1, T2, 0);
        }

        EmitOffset(instruction, adjust);
        return direct
            ? EmitAccess(SegmentOf(instruction), size, read, write, rules, OfGuest(@base), (int)instruction.MemoryDisplacement64 + adjust, window)
            : EmitAccess(SegmentOf(instruction), size, read, write, rules, window: window);
    }

    /// <summary>As <see cref="EmitMemory"/>, for the address in T1: an offset in a segment.</summary>
    /// <param name="base">A host register from which the address is reached too; -1 if there is none.</param>
    /// <param name="displacement">The address is the register plus this.</param>
    /// <param name="window">In a loop's first round: the access that is noted in its window; -1: none.</param>
    private HostOperand EmitAccess(int segment, int size, bool read, bool write, AccessRules rules = AccessRules.None, int @base = -1, int displacement = 0, int window = -1)
    {
        var info = new AccessInfo(size, read, write, segment, rules);
        if (Careful)
        {
            NeedFlags();
            _e.MovImm(T2, info.Word);
            _e.Call(_thunks.ResolveCareful);
            return HostOperand.AtT1;
        }

        DestroyFlags(check: true);
        if (CodeBits != 64 && !IsFlat(segment, write))
        {
            int offset = StateOffset.Segment(segment);
            _e.Lea(T2, T1, size - 1);
            _e.Rm(0x3B, T2, State, offset + (write ? StateOffset.SegmentWriteEnd : StateOffset.SegmentReadEnd)); // cmp
            _cold.Add(new ColdPart(ColdKind.Careful, _rip, _e.JumpForward(3), null, 0, _flags, recipe: _recipe));       // jae
            _e.Rm(0x03, T1, State, offset + StateOffset.SegmentBase, wide: false); // add, modulo 4 GiB
        }
        else if (CodeBits == 64 && segment >= SegmentFs)
        {
            _e.Rm(0x03, T1, State, StateOffset.Segment(segment) + StateOffset.SegmentBase);
        }

        bool byBase = @base >= 0 && CodeBits == 64 && segment < SegmentFs;
        int loopPage = _source.IsLoop && window < 0 ? LoopPage(info, byBase ? @base : -1) : -1;
        if (loopPage >= 0 && _secondRound)
        {
            return EmitLoopAccess(loopPage, info, byBase ? new HostOperand(@base, T2, displacement) : new HostOperand(T1, T2, 0));
        }

        if (loopPage >= 0)
        {
            EmitForgetPage(loopPage);
        }

        byte* miss;
        if (byBase && @base == GuestRsp && LooksAtStackPage)
        {
            miss = EmitPageCheck(PageCheckKind.Stack, size, write);
            _cold.Add(new ColdPart(ColdKind.ResolveOnStack, _rip, miss, _e.Here, info.Word, _flags, _mode.Space(), _recipe));
            return EndAccess(new HostOperand(@base, T2, displacement));
        }

        if (window >= 0)
        {
            miss = EmitTlbCheck(size, write, out _);
            EmitNoteInWindow(window);
            ColdKind kind = byBase ? ColdKind.ResolveInWindow : ColdKind.ResolveAddressInWindow;
            _cold.Add(new ColdPart(kind, _rip, miss, _e.Here, info.Word | ((ulong)window << 32), _flags, _mode.Space(), _recipe));
        }
        else
        {
            miss = EmitPageCheck(byBase ? PageCheckKind.Delta : PageCheckKind.HostPage, size, write);
            if (loopPage >= 0 && byBase)
            {
                EmitNotePage(loopPage, size, @base, displacement);
            }

            _cold.Add(new ColdPart(byBase ? ColdKind.Resolve : ColdKind.ResolveAddress, _rip, miss, _e.Here, info.Word, _flags, _mode.Space(), _recipe));
        }

        return EndAccess(byBase ? new HostOperand(@base, T2, displacement) : new HostOperand(T1, T2, 0));
    }

    private HostOperand EndAccess(HostOperand operand)
    {
        if (!Options.Has(Optimizations.LazyFlags))
        {
            operand = Collapse(operand);
            NeedFlags(operand.FreeScratch);
            _flags = FlagsAt.Host;
        }

        return operand;
    }

    private bool LooksAtStackPage
        => CodeBits == 64 && !_source.IsLoop && _mode.Space() != AddressSpace.SupervisorAc && Options.Has(Optimizations.StackPages);

    private readonly PageCheck?[] _pageChecks = new PageCheck?[SoftwareVcpu.Spaces * PageCheckKinds * 2];
    private const int PageCheckKinds = 3;

    /// <summary>T1 = linear address: T2 as the kind says, T1 is lost or the offset in the page. Returns the jump to be landed if it is another page.</summary>
    private byte* EmitPageCheck(PageCheckKind kind, int size, bool write)
    {
        ref PageCheck? check = ref _pageChecks[(((int)_mode.Space() * PageCheckKinds) + (int)kind) * 2 + (write ? 1 : 0)];
        if (check is not null)
        {
            return check.Emit(_e, size);
        }

        byte* start = _e.Cursor;
        byte* miss;
        byte* sizeField;
        if (kind == PageCheckKind.Stack)
        {
            int page = StateOffset.StackPage(_mode.Space());
            _e.Rm(0x33, T1, State, page + NativeStackPage.TagOffset(write));  // xor
            miss = EmitOffsetCheck(size, out sizeField);
            _e.LoadState(T2, page + NativeStackPage.DeltaOffset);
        }
        else
        {
            miss = EmitTlbCheck(size, write, out sizeField);
            _e.TlbField(0x8B, T2, Tlb, T2, kind == PageCheckKind.Delta ? NativeTlbEntry.DeltaOffset : NativeTlbEntry.HostPageOffset);
        }

        check = new PageCheck(start, sizeField, miss, _e.Cursor);
        return miss;
    }

    /// <summary>T1 = linear address: T2 = its place in the TLB, T1 = the offset in the page. Returns the jump to be landed if it is another page.</summary>
    private byte* EmitTlbCheck(int size, bool write, out byte* sizeField)
    {
        _e.TlbPlace(T2, T1);
        _e.TlbField(0x33, T1, Tlb, T2, NativeTlbEntry.TagOffset(write)); // xor: the offset in the page remains if it is the right one
        return EmitOffsetCheck(size, out sizeField);
    }

    private byte* EmitOffsetCheck(int size, out byte* sizeField)
    {
        _e.Rr(0x81, CompareRm, T1);
        sizeField = _e.Cursor;
        _e.Dword(PageCheck.Highest(size));
        return _e.JumpForward(JaCondition);
    }

    /// <summary>An operand that leaves a scratch register free.</summary>
    private HostOperand Collapse(HostOperand operand)
    {
        if (operand.FreeScratch >= 0)
        {
            return operand;
        }

        _e.Rx(0x8D, T1, T1, T2, 0, operand.Displacement);   // lea
        return HostOperand.AtT1;
    }

    /// <summary>Makes the memory operand of an instruction the one in the host.</summary>
    private static void Redirect(ref Instruction instruction, in HostOperand operand)
    {
        instruction.MemoryBase = Register.RAX + operand.Base;
        instruction.MemoryIndex = operand.Index < 0 ? Register.None : Register.RAX + operand.Index;
        instruction.MemoryIndexScale = 1;
        if (operand.Displacement == 0)
        {
            instruction.MemoryDisplacement64 = 0;
            instruction.MemoryDisplSize = 0;
        }
        else if (instruction.MemoryDisplacement64 != (ulong)operand.Displacement)
        {
            instruction.MemoryDisplacement64 = (ulong)operand.Displacement;
            instruction.MemoryDisplSize = operand.Displacement == (sbyte)operand.Displacement ? 1 : sizeof(ulong);
        }
    }

    private int Tlb => StateOffset.Tlb(_mode.Space());

    /// <summary>No limit and no base to apply. A code segment is never writable.</summary>
    private bool IsFlat(int segment, bool write)
        => (_mode & BlockMode.Flat) != 0 && segment < SegmentFs && !(write && segment == SegmentCs);

    /// <summary>After an instruction that wrote to memory: a careful one may have written to the bounce buffer.</summary>
    private void EmitCommit()
    {
        if (Careful)
        {
            _e.Call(_thunks.Commit);
        }
    }
}
