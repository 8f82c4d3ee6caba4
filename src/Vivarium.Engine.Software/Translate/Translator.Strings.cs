using System.Numerics;
using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// LODS, STOS and MOVS of one element, forward, which decompressors are made of (SDM vol. 2; vol. 1, 7.3.9). Backward ones,
// and all that compare or repeat, are for the emulation or for StringThunks.
internal sealed unsafe partial class Translator
{
    private const int SegmentEs = 0;

    /// <summary>True if the instruction is one of these and was translated.</summary>
    private bool EmitStringElement(in Instruction instruction)
    {
        if (!instruction.IsStringInstruction || instruction.HasRepPrefix || instruction.HasRepnePrefix)
        {
            return false;
        }

        switch (instruction.Mnemonic)
        {
            case Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Lodsq:
                EmitForwardOnly(instruction);
                EmitLods(instruction);
                return true;
            case Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq:
                EmitForwardOnly(instruction);
                EmitStos(instruction);
                return true;
            case Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq:
                EmitForwardOnly(instruction);
                EmitMovs(instruction);
                return true;
            default:
                return false;
        }
    }

    /// <summary>REP MOVS and REP STOS with no segment base and no limit. True if the instruction is one of these and was translated.</summary>
    private bool EmitRepeat(in Instruction instruction)
    {
        if (!instruction.IsStringInstruction || !(instruction.HasRepPrefix || instruction.HasRepnePrefix) || !Options.Has(Optimizations.StringThunks)
            || instruction.MemorySegment is Register.FS or Register.GS)
        {
            return false;
        }

        bool narrow = CodeBits != 64;
        if (instruction.Op0Kind != (narrow ? OpKind.MemoryESEDI : OpKind.MemoryESRDI) || (narrow && (_mode & BlockMode.Flat) == 0))
        {
            return false;
        }

        bool store = instruction.Mnemonic is Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd or Mnemonic.Stosq;
        if (!store && instruction.Mnemonic is not (Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Movsd or Mnemonic.Movsq))
        {
            return false;
        }

        int shift = BitOperations.Log2((uint)instruction.MemorySize.GetSize());
        DestroyFlags();
        _e.StoreStateRip(StateOffset.Rip, _rip);
        EmitTrapIndex(AddTrap(instruction), _rip);
        _e.Call(store ? _thunks.Strings.Stos(_mode.Space(), shift, narrow) : _thunks.Strings.Movs(_mode.Space(), shift, narrow));
        EndCheck();
        return true;
    }

    private void EmitForwardOnly(in Instruction instruction)
    {
        DestroyFlags();
        _e.Rm(0xF6, 0, State, StateOffset.SystemFlags + 1, wide: false); // test
        _e.Byte(SecondByteDf);
        _cold.Add(new ColdPart(ColdKind.Trap, _rip, _e.JumpForward(JnzCondition), null, (ulong)AddTrap(instruction), _flags));
    }

    private void EmitLods(in Instruction instruction)
    {
        int size = instruction.MemorySize.GetSize();
        HostOperand source = EmitElement(Rsi, SourceSegment(instruction), instruction.Op1Kind, size, write: false);
        EmitLoadElement(Rax, source, size);
        EmitAdvance(Rsi, instruction.Op1Kind, size);
        EndCheck();
    }

    private void EmitStos(in Instruction instruction)
    {
        int size = instruction.MemorySize.GetSize();
        HostOperand target = EmitElement(Rdi, SegmentEs, instruction.Op0Kind, size, write: true);
        EmitStoreElement(target, Rax, size);
        EmitAdvance(Rdi, instruction.Op0Kind, size);
        EndCheck();
    }

    private void EmitMovs(in Instruction instruction)
    {
        int size = instruction.MemorySize.GetSize();
        EmitLoadElement(T2, EmitElement(Rsi, SourceSegment(instruction), instruction.Op1Kind, size, write: false), size);
        _e.StoreState(StateOffset.Scratch, T2);
        HostOperand target = Collapse(EmitElement(Rdi, SegmentEs, instruction.Op0Kind, size, write: true));
        _e.LoadState(target.FreeScratch, StateOffset.Scratch);
        EmitStoreElement(target, target.FreeScratch, size);
        EmitAdvance(Rsi, instruction.Op1Kind, size);
        EmitAdvance(Rdi, instruction.Op0Kind, size);
        EndCheck();
    }

    private int SourceSegment(in Instruction instruction) => OperandSegment.Of(instruction, CodeBits == 64);

    /// <summary>Checks the element that an index register points to.</summary>
    private HostOperand EmitElement(int index, int segment, OpKind kind, int size, bool write)
    {
        EmitZeroExtend(T1, index, IndexSize(kind));
        return EmitAccess(segment, size, read: !write, write);
    }

    /// <summary>The rest of the register stays, but for its upper half where an element has 32 bits.</summary>
    private void EmitLoadElement(int to, in HostOperand source, int size)
    {
        if (size == 2)
        {
            _e.Byte(0x66);
        }

        _e.Op(size == 1 ? 0x8A : 0x8B, to, source, wide: size == 8);
    }

    private void EmitStoreElement(in HostOperand target, int from, int size)
    {
        if (size == 1)
        {
            _e.Op(0x88, from, target, wide: false);
        }
        else
        {
            EmitStoreSized(target, from, size);
        }
    }

    /// <summary>Index register += element, in the address size. T2 is lost.</summary>
    private void EmitAdvance(int index, OpKind kind, int size)
    {
        int indexSize = IndexSize(kind);
        if (indexSize == 2)
        {
            _e.Lea(T2, index, size, wide: false);
            Emit16(0x89, T2, index);
        }
        else
        {
            _e.Lea(index, index, size, wide: indexSize == 8);
        }
    }

    private static int IndexSize(OpKind kind) => kind switch
    {
        OpKind.MemorySegSI or OpKind.MemoryESDI => 2,
        OpKind.MemorySegESI or OpKind.MemoryESEDI => 4,
        _ => 8,
    };
}
