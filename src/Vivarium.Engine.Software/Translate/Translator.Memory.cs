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
    private void EmitOffset(in Instruction instruction, int adjust)
    {
        Register @base = instruction.MemoryBase;
        Register index = instruction.MemoryIndex;
        ulong displacement = instruction.MemoryDisplacement64 + (ulong)adjust;
        if (index == Register.None && (@base == Register.None || @base.GetFullRegister() == Register.RIP))
        {
            // Iced has added RIP already.
            if (@base == Register.RIP)
            {
                _e.MovRip(T1, displacement);
                return;
            }

            if (@base == Register.EIP)
            {
                _e.Relocations.GiveUp();
            }

            bool wide = CodeBits == 64 && instruction.MemoryDisplSize == 8;
            _e.MovImm(T1, wide ? displacement : NoBase(instruction, displacement));
            return;
        }

        int size = (@base != Register.None ? @base : index).GetSize();
        int baseHost = @base == Register.None ? -1 : HostOrLoad(@base, T1);
        int indexHost = index == Register.None ? -1 : HostOrLoad(index, T2);
        int disp = (int)displacement;
        bool is64 = size == 8;
        if (indexHost < 0)
        {
            _e.Lea(T1, baseHost, disp, is64);
        }
        else
        {
            int scale = instruction.MemoryIndexScale switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 };
            if (baseHost < 0)
            {
                _e.RxNoBase(0x8D, T1, indexHost, scale, disp, is64);
            }
            else
            {
                _e.Rx(0x8D, T1, baseHost, indexHost, scale, disp, is64);
            }
        }

        if (size == 2)
        {
            _e.Rr(0x0FB7, T1, T1, wide: false); // movzx T1d, T1w
        }
    }

    /// <summary>A bare displacement: sign-extended in 64-bit mode unless the address size is 32.</summary>
    private ulong NoBase(in Instruction instruction, ulong displacement) => CodeBits switch
    {
        64 when instruction.MemoryBase == Register.EIP => (uint)displacement,
        64 => displacement,
        _ => instruction.MemoryDisplSize == 2 ? (ushort)displacement : (uint)displacement,
    };

    private int HostOrLoad(Register register, int scratch)
    {
        int guest = GuestNumber(register);
        int host = Of(guest);
        if (host >= 0)
        {
            return host;
        }

        _e.LoadState(scratch, StateOffset.Gpr(guest));
        return scratch;
    }

    /// <summary>
    /// T1 = offset in a segment becomes T1 = host address of <paramref name="size"/> accessible bytes. T2 is lost, the
    /// flags may be saved; all else is kept. On failure the instruction faults, or runs by its careful translation.
    /// </summary>
    private void EmitAccess(int segment, int size, bool read, bool write, AccessRules rules = AccessRules.None)
    {
        var info = new AccessInfo(size, read, write, segment, rules);
        if (Careful)
        {
            NeedFlags();
            _e.MovImm(T2, info.Word);
            _e.Call(_thunks.ResolveCareful);
            return;
        }

        bool checkLimit = CodeBits != 64 && !IsFlat(segment, write);
        DestroyFlags();
        if (checkLimit)
        {
            int offset = StateOffset.Segment(segment);
            _e.Lea(T2, T1, size - 1);
            _e.Rm(0x3B, T2, State, offset + (write ? StateOffset.SegmentWriteEnd : StateOffset.SegmentReadEnd)); // cmp
            _cold.Add(new ColdPart(ColdKind.Careful, _rip, _e.JumpForward(3), null, 0, _flags));       // jae
            _e.Rm(0x03, T1, State, offset + StateOffset.SegmentBase, wide: false); // add, modulo 4 GiB
        }
        else if (CodeBits == 64 && segment >= SegmentFs)
        {
            _e.Rm(0x03, T1, State, StateOffset.Segment(segment) + StateOffset.SegmentBase);
        }

        _e.Mov32Rr(T2, T1);
        _e.Rr(0xC1, 4, T2, wide: false);        // shl T2d: the address's bits above the index go
        _e.Byte(32 - 12 - NativeTlb.IndexBits);
        _e.Rr(0xC1, 5, T2, wide: false);        // shr T2d: those below go
        _e.Byte(32 - NativeTlb.IndexBits);
        EmitTlbTag(write);
        _e.Rr(0x81, 7, T1);                     // cmp T1, 4096 - size
        _e.Dword(4096 - size);
        byte* miss = _e.JumpForward(7);         // ja
        _e.Rx(0x03, T1, State, T2, 3, Tlb + HostPageOffset);
        _cold.Add(new ColdPart(ColdKind.Resolve, _rip, miss, _e.Here, info.Word, _flags, _mode.Space()));
        EndCheck();
    }

    /// <summary>Makes the memory operand of an instruction for the host [T1], a host address.</summary>
    private static void RedirectToT1(ref Instruction instruction)
    {
        instruction.MemoryBase = Register.R14;
        instruction.MemoryIndex = Register.None;
        instruction.MemoryIndexScale = 1;
        instruction.MemoryDisplacement64 = 0;
        instruction.MemoryDisplSize = 0;
    }

    private int Tlb => StateOffset.Tlb(_mode.Space());

    private const int HostPageOffset = 2 * 8 * NativeTlb.Entries;

    /// <summary>XOR T1 with the tag of entry T2: the offset in the page remains if it is the right one.</summary>
    private void EmitTlbTag(bool write) => _e.Rx(0x33, T1, State, T2, 3, Tlb + (write ? 8 * NativeTlb.Entries : 0));

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
