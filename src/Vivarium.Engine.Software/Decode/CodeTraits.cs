using Iced.Intel;
using IcedFlags = Iced.Intel.RflagsBits;

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

/// <summary>What the translator needs to know of an instruction form beyond its operands; the same for every instruction with one <see cref="Code"/>, and a memory operand or none.</summary>
/// <param name="Extended">The state it works on.</param>
/// <param name="WrittenOperands">One bit per operand.</param>
/// <param name="OverwrittenOperands">Likewise: those that are always written, and not read.</param>
/// <param name="ReadsMemory">Its memory operand, if it has one, is read.</param>
/// <param name="WritesMemory">Its memory operand, if it has one, is written.</param>
/// <param name="Aligned">Its memory operand must be aligned to its size, or #GP (before #PF).</param>
/// <param name="Waiting">An x87 instruction that reports pending exceptions first (before #PF).</param>
/// <param name="Flags">What it does with the arithmetic flags.</param>
internal readonly record struct CodeTraits(
    ExtendedKind Extended, byte WrittenOperands, byte OverwrittenOperands, bool ReadsMemory, bool WritesMemory, bool Aligned, bool Waiting, FlagUse Flags)
{
    public bool Writes(int operand) => (WrittenOperands & (1 << operand)) != 0;

    /// <summary>What the operand held does not matter, but for the bits beside it of a register.</summary>
    public bool Overwrites(int operand) => (OverwrittenOperands & (1 << operand)) != 0;
}

/// <summary>
/// Works out traits. Iced's <see cref="OpCodeInfo"/> would tell more of a form, but to ask for one makes those of all, which
/// takes milliseconds.
/// </summary>
internal sealed class CodeTraitsFactory
{
    private readonly InstructionInfoFactory _factory = new();

    public CodeTraits Create(Instruction instruction)
    {
        MakeRegistersDistinct(ref instruction);
        InstructionInfo info = _factory.GetInfo(instruction);
        byte written = 0;
        byte overwritten = 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (IsWrite(info.GetOpAccess(i)))
            {
                written |= (byte)(1 << i);
            }

            if (info.GetOpAccess(i) == OpAccess.Write && instruction.Mnemonic is not (Mnemonic.Bsf or Mnemonic.Bsr))
            {
                overwritten |= (byte)(1 << i);
            }
        }

        bool reads = false;
        bool writes = false;
        foreach (UsedMemory memory in info.GetUsedMemory())
        {
            reads |= IsRead(memory.Access);
            writes |= IsWrite(memory.Access);
        }

        ExtendedKind extended = KindOf(instruction, info);

        // An x87 store writes nothing when an unmasked exception stops it: what was there must be known to be put back.
        reads |= writes && extended == ExtendedKind.X87;
        return new CodeTraits(extended, written, overwritten, reads, writes, NeedsAlignment(instruction, extended),
            UsesMmx(instruction) || (extended == ExtendedKind.X87 && !IsNonWaiting(instruction.Mnemonic)), FlagUseOf(instruction));
    }

    /// <summary>Iced knows that SUB or PXOR of a register with itself reads nothing; the form as such does read.</summary>
    private static void MakeRegistersDistinct(ref Instruction instruction)
    {
        for (int i = 1; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register || instruction.GetOpKind(i - 1) != OpKind.Register)
            {
                continue;
            }

            Register register = instruction.GetOpRegister(i);
            if (register == instruction.GetOpRegister(i - 1))
            {
                instruction.SetOpRegister(i, register.GetNumber() == 0 ? register + 1 : register - 1);
            }
        }
    }

    private static FlagUse FlagUseOf(in Instruction instruction)
    {
        const IcedFlags all = IcedFlags.OF | IcedFlags.SF | IcedFlags.ZF | IcedFlags.AF | IcedFlags.CF | IcedFlags.PF;
        if (instruction.Mnemonic is Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr)
        {
            return FlagUse.Changes;
        }

        // By CL a count of 0 changes nothing; and what Iced says of a constant count holds for that count only.
        if (IsShift(instruction.Mnemonic))
        {
            return instruction.GetOpKind(instruction.OpCount - 1) == OpKind.Immediate8 ? FlagUse.ReplacesIfCounted : FlagUse.Changes;
        }

        IcedFlags reads = instruction.RflagsRead & all;
        IcedFlags changes = instruction.RflagsModified & all;
        return changes == 0 ? (reads == 0 ? FlagUse.None : FlagUse.Reads)
            : changes == all && reads == 0 ? FlagUse.Replaces
            : FlagUse.Changes;
    }

    private static bool IsShift(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Shld or Mnemonic.Shrd;

    private static bool IsRead(OpAccess access) => access is OpAccess.Read or OpAccess.CondRead or OpAccess.ReadWrite or OpAccess.ReadCondWrite;

    private static bool IsWrite(OpAccess access)
        => access is OpAccess.Write or OpAccess.CondWrite or OpAccess.ReadWrite or OpAccess.ReadCondWrite;

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

        // Of their operands only the one that may be memory is a vector register.
        vector |= instruction.Mnemonic is Mnemonic.Cvtss2si or Mnemonic.Cvttss2si or Mnemonic.Cvtsd2si or Mnemonic.Cvttsd2si
            or Mnemonic.Vcvtss2si or Mnemonic.Vcvttss2si or Mnemonic.Vcvtsd2si or Mnemonic.Vcvttsd2si
            or Mnemonic.Cvtps2pi or Mnemonic.Cvttps2pi or Mnemonic.Cvtpd2pi or Mnemonic.Cvttpd2pi;

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

    /// <summary>SDM vol. 1, 11.4.4 and 14.9: 16-byte operands of legacy SSE instructions, and the VEX and EVEX moves named aligned or non-temporal.</summary>
    private static bool NeedsAlignment(in Instruction instruction, ExtendedKind extended)
    {
        if (instruction.Mnemonic == Mnemonic.Cmpxchg16b)
        {
            return true;
        }

        if (extended is ExtendedKind.Avx or ExtendedKind.Avx512)
        {
            return instruction.Mnemonic is Mnemonic.Vmovaps or Mnemonic.Vmovapd or Mnemonic.Vmovdqa or Mnemonic.Vmovdqa32
                or Mnemonic.Vmovdqa64 or Mnemonic.Vmovntps or Mnemonic.Vmovntpd or Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa;
        }

        return extended == ExtendedKind.Sse && instruction.Mnemonic
            is not (Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu or Mnemonic.Pcmpestri
                or Mnemonic.Pcmpestri64 or Mnemonic.Pcmpestrm or Mnemonic.Pcmpestrm64 or Mnemonic.Pcmpistri or Mnemonic.Pcmpistrm)
            && (CpuModel.HostIsIntel || !IsSha(instruction.Mnemonic));
    }

    /// <summary>AMD's processors, unlike Intel's, take any alignment for these.</summary>
    private static bool IsSha(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Sha1msg1 or Mnemonic.Sha1msg2 or Mnemonic.Sha1nexte or Mnemonic.Sha1rnds4
        or Mnemonic.Sha256msg1 or Mnemonic.Sha256msg2 or Mnemonic.Sha256rnds2;

    /// <summary>CVTPI2PD and CVTPI2PS with a memory operand have nothing to do with the x87 state (SDM vol. 2).</summary>
    private static bool UsesMmx(in Instruction instruction)
    {
        if (instruction.Mnemonic is Mnemonic.Cvtpi2pd or Mnemonic.Cvtpi2ps)
        {
            return false;
        }

        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsMM())
            {
                return true;
            }
        }

        return false;
    }

    private static bool IsNonWaiting(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Fnstenv or Mnemonic.Fnsave or Mnemonic.Fnstcw or Mnemonic.Fnstsw or Mnemonic.Fnclex or Mnemonic.Fninit;
}
