using Iced.Intel;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Software.Decode;

/// <summary>All forms, as a CPU model has them; each is worked out when it is first met.</summary>
internal sealed unsafe class InstructionForms(CpuFeatures features)
{
    private readonly InstructionForm?[] _forms = new InstructionForm?[FormCounts.Codes * 4];
    private readonly CodeTraitsFactory _traits = new();

    public InstructionForm Get(in GuestInstruction guest)
    {
        ref readonly Instruction instruction = ref guest.Instruction;
        int memory = Operands.FindMemory(instruction);
        ref InstructionForm? form = ref _forms[((int)instruction.Code * 4) + (memory >= 0 ? 2 : 0) + (instruction.CodeSize == CodeSize.Code64 ? 1 : 0)];
        return form ?? (form = Describe(instruction, guest.Code, memory));
    }

    private InstructionForm Describe(in Instruction instruction, ReadOnlySpan<byte> code, int memory)
    {
        CodeTraits traits = _traits.Create(instruction);
        int general = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsGPR())
            {
                general |= 1 << i;
            }
        }

        return new InstructionForm
        {
            Offering = features[instruction.Code],
            Traits = traits,
            Mnemonic = instruction.Mnemonic,
            Kinds = KindsOf(instruction, code, traits, memory),
            Memory = memory,
            GeneralRegisters = general,
            FirstSize = instruction.Op0Kind == OpKind.Register ? instruction.Op0Register.GetSize() : 0,
            MemorySize = instruction.MemorySize.GetSize(),
            RegisterField = instruction.CodeSize == CodeSize.Code64 && instruction.Encoding == EncodingKind.Legacy && instruction.Code != Code.INVALID
                ? RegisterFields.Of(code) : RegisterField.Unknown,
        };
    }

    private static FormKinds KindsOf(in Instruction instruction, ReadOnlySpan<byte> code, CodeTraits traits, int memory)
    {
        bool emulated = PrivilegedTable.Find(instruction) != null;
        bool conditional = instruction.ConditionCode != ConditionCode.None && instruction.FlowControl == FlowControl.Next;
        return (emulated ? FormKinds.Emulated : 0)
            | (!emulated && traits.Flags is not (FlagUse.None or FlagUse.Reads) ? FormKinds.MakesFlags : 0)
            | (IsPlain(instruction.Mnemonic) ? FormKinds.Plain : 0)
            | (IsSimple(instruction) ? FormKinds.Simple : 0)
            | (conditional ? FormKinds.Conditional : 0)
            | (WritesOperandsOnly(instruction) || conditional ? FormKinds.WritesOperandsOnly : 0)
            | (instruction.IsStackInstruction ? FormKinds.Stack : 0)
            | (instruction.Mnemonic is Mnemonic.Div or Mnemonic.Idiv || traits.Extended != ExtendedKind.None ? FormKinds.MayBeRefused : 0)
            | (memory >= 0 && instruction.Mnemonic is not (Mnemonic.Lea or Mnemonic.Nop) ? FormKinds.Accesses : 0)
            | (instruction.FlowControl != FlowControl.Next ? FormKinds.Jumps : 0)
            | (instruction.IsJccShortOrNear ? FormKinds.Jcc : 0)
            | (instruction.Mnemonic is Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar && instruction.Op1Kind == OpKind.Immediate8 ? FormKinds.ConstantShift : 0)
            | (IsSpecial(instruction.Mnemonic) ? FormKinds.Special : 0)
            | (instruction.OpCount == 2 && instruction.Op1Kind == OpKind.Immediate32to64 ? FormKinds.ExtendsImmediate : 0)
            | (HasRegistersOnly(instruction) && (instruction.CodeSize == CodeSize.Code64 || IsSameIn64(instruction, code)) ? FormKinds.Registers : 0);
    }

    private static bool IsPlain(Mnemonic mnemonic) => mnemonic is Mnemonic.Mov or Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd
        or Mnemonic.Add or Mnemonic.Sub or Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Cmp or Mnemonic.Test
        or Mnemonic.Movups or Mnemonic.Movdqu or Mnemonic.Movaps or Mnemonic.Movdqa or Mnemonic.Movq or Mnemonic.Movd or Mnemonic.Movss or Mnemonic.Movsd
        or Mnemonic.Addsd or Mnemonic.Mulsd or Mnemonic.Subsd or Mnemonic.Movhps or Mnemonic.Movlps;

    private static bool IsSpecial(Mnemonic mnemonic) => mnemonic is Mnemonic.Push or Mnemonic.Pop or Mnemonic.Leave or Mnemonic.Lea
        or Mnemonic.Nop or Mnemonic.Reservednop or Mnemonic.Prefetchnta or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2
        or Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc;

    private static bool IsSimple(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Mov or Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd or Mnemonic.Lea
            or Mnemonic.Add or Mnemonic.Sub or Mnemonic.And or Mnemonic.Or or Mnemonic.Xor or Mnemonic.Cmp or Mnemonic.Test
            or Mnemonic.Adc or Mnemonic.Sbb or Mnemonic.Inc or Mnemonic.Dec or Mnemonic.Neg or Mnemonic.Not => true,
        Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar => instruction.Op1Kind == OpKind.Immediate8,
        Mnemonic.Imul => instruction.OpCount > 1,
        _ => false,
    };

    /// <summary>The common ones of them.</summary>
    private static bool WritesOperandsOnly(in Instruction instruction) => instruction.Mnemonic switch
    {
        Mnemonic.Mov or Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd or Mnemonic.Lea or Mnemonic.Push or Mnemonic.Pop or Mnemonic.Not
            or Mnemonic.Bswap or Mnemonic.Movbe or Mnemonic.Nop or Mnemonic.Rorx or Mnemonic.Shlx or Mnemonic.Shrx or Mnemonic.Sarx => true,
        Mnemonic.Movups or Mnemonic.Movaps or Mnemonic.Movdqu or Mnemonic.Movdqa or Mnemonic.Movss or Mnemonic.Movq or Mnemonic.Movd
            or Mnemonic.Vmovups or Mnemonic.Vmovaps or Mnemonic.Vmovdqu or Mnemonic.Vmovdqa or Mnemonic.Vzeroupper
            or Mnemonic.Addsd or Mnemonic.Mulsd or Mnemonic.Subsd or Mnemonic.Pxor or Mnemonic.Xorps => true,
        Mnemonic.Movsd => !instruction.IsStringInstruction,
        Mnemonic.Jmp or Mnemonic.Call or Mnemonic.Ret => instruction.FlowControl is not FlowControl.Next && !instruction.IsJmpFar && !instruction.IsJmpFarIndirect
            && !instruction.IsCallFar && !instruction.IsCallFarIndirect,
        _ => instruction.IsJccShortOrNear,
    };

    private static bool HasRegistersOnly(in Instruction instruction)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) is not (OpKind.Register or (>= OpKind.Immediate8 and <= OpKind.Immediate32to64)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>The bytes mean the same in 32-bit and in 64-bit code: of legacy encodings, one-byte opcodes that only the former has are the exception.</summary>
    private static bool IsSameIn64(in Instruction instruction, ReadOnlySpan<byte> code)
        => instruction.Encoding == EncodingKind.Legacy && instruction.Code != Code.INVALID
            && code[Prefixes.Length(code, rex: false)] is not (0x06 or 0x07 or 0x0E or 0x16 or 0x17 or 0x1E or 0x1F or 0x27 or 0x2F or 0x37 or 0x3F
                or (>= 0x40 and < 0x50) or (>= 0x60 and <= 0x63) or 0x82 or 0x9A or 0xC4 or 0xC5 or 0xCE or (>= 0xD4 and <= 0xD6) or 0xEA);
}
