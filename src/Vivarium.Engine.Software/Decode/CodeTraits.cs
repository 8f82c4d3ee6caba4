using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>Which extended state an instruction works on.</summary>
internal enum ExtendedKind : byte
{
    None,
    X87,
    Mmx,
    Sse,
    Avx,
    Avx512,
}

/// <summary>What the translator needs to know of an instruction form beyond its operands; the same for every instruction with one <see cref="Code"/>.</summary>
internal readonly record struct CodeTraits(ExtendedKind Extended, byte WrittenOperands, bool ReadsMemory, bool WritesMemory)
{
    public bool Writes(int operand) => (WrittenOperands & (1 << operand)) != 0;
}

/// <summary>Traits by <see cref="Code"/>, worked out when a form is first met.</summary>
internal sealed class CodeTraitsTable
{
    private readonly CodeTraits?[] _traits = new CodeTraits?[8192];
    private readonly InstructionInfoFactory _factory = new();

    public CodeTraits Get(in Instruction instruction)
    {
        ref CodeTraits? entry = ref _traits[(int)instruction.Code];
        entry ??= Compute(instruction);
        return entry.Value;
    }

    private CodeTraits Compute(in Instruction instruction)
    {
        InstructionInfo info = _factory.GetInfo(instruction);
        byte written = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (IsWrite(info.GetOpAccess(i)))
            {
                written |= (byte)(1 << i);
            }
        }

        bool reads = false;
        bool writes = false;
        foreach (UsedMemory memory in info.GetUsedMemory())
        {
            reads |= IsRead(memory.Access);
            writes |= IsWrite(memory.Access);
        }

        // The same form with a register where another has memory: the operand's own access tells.
        for (int i = 0; i < instruction.OpCount; i++)
        {
            OpCodeOperandKind kind = instruction.OpCode.GetOpKind(i);
            if (IsMemoryOrRegister(kind))
            {
                OpAccess access = info.GetOpAccess(i);
                reads |= IsRead(access);
                writes |= IsWrite(access);
            }
        }

        return new CodeTraits(KindOf(instruction, info), written, reads, writes);
    }

    private static bool IsRead(OpAccess access) => access is OpAccess.Read or OpAccess.CondRead or OpAccess.ReadWrite or OpAccess.ReadCondWrite;

    private static bool IsWrite(OpAccess access)
        => access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite;

    private static bool IsMemoryOrRegister(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem
            or OpCodeOperandKind.r32_or_mem_mpx or OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.r64_or_mem_mpx
            or OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.ymm_or_mem
            or OpCodeOperandKind.zmm_or_mem or OpCodeOperandKind.bnd_or_mem_mpx or OpCodeOperandKind.k_or_mem => true,
        _ => false,
    };

    private static ExtendedKind KindOf(in Instruction instruction, in InstructionInfo info)
    {
        bool vector = false;
        bool mmx = false;
        bool mask = false;
        foreach (UsedRegister used in info.GetUsedRegisters())
        {
            vector |= used.Register.IsVectorRegister();
            mmx |= used.Register.IsMM();
            mask |= used.Register.IsK();
        }

        foreach (CpuidFeature feature in instruction.CpuidFeatures)
        {
            if (feature is CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU287XL_ONLY or CpuidFeature.FPU387
                or CpuidFeature.FPU387SL_ONLY)
            {
                return ExtendedKind.X87;
            }
        }

        return instruction.Encoding switch
        {
            EncodingKind.EVEX => ExtendedKind.Avx512,
            EncodingKind.VEX when mask => ExtendedKind.Avx512,
            EncodingKind.VEX when vector || instruction.Mnemonic is Mnemonic.Vzeroupper or Mnemonic.Vzeroall
                or Mnemonic.Vldmxcsr or Mnemonic.Vstmxcsr => ExtendedKind.Avx,
            EncodingKind.XOP => ExtendedKind.Avx,
            EncodingKind.VEX => ExtendedKind.None,
            _ when vector || instruction.Mnemonic is Mnemonic.Ldmxcsr or Mnemonic.Stmxcsr => ExtendedKind.Sse,
            _ when mmx || instruction.Mnemonic is Mnemonic.Emms or Mnemonic.Femms => ExtendedKind.Mmx,
            _ => ExtendedKind.None,
        };
    }
}
