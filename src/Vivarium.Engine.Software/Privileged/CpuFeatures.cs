using Iced.Intel;
using Vivarium.Engine.Software.Decode;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>What a guest's processor makes of an instruction.</summary>
internal enum Offering : byte
{
    Unknown,

    /// <summary>#UD: the CPU model lacks it.</summary>
    Undefined,

    /// <summary>The instruction as it is.</summary>
    Offered,

    /// <summary>Encoded in hint space: a processor without the feature does nothing.</summary>
    Nop,
}

/// <summary>Which instructions a CPU model has, by opcode; each is looked up once, when it is first met.</summary>
internal sealed class CpuFeatures(CpuModel model)
{
    private readonly Offering[] _offerings = new Offering[FormCounts.Codes];

    public Offering this[Code code]
    {
        get
        {
            ref Offering offering = ref _offerings[(int)code];
            if (offering == Offering.Unknown)
            {
                offering = Classify(model, code);
            }

            return offering;
        }
    }

    /// <summary>False: #UD.</summary>
    public bool Offered(Code code) => this[code] != Offering.Undefined;

    private static Offering Classify(CpuModel model, Code code)
    {
        if (code == Code.INVALID)
        {
            return Offering.Undefined;
        }

        if (code is Code.Vmcall or Code.Vmmcall)
        {
            return model.Has(CpuFeature.Hypervisor) ? Offering.Offered : Offering.Undefined;
        }

        switch (code.Mnemonic())
        {
            case Mnemonic.Endbr32 or Mnemonic.Endbr64 or Mnemonic.Rdsspd or Mnemonic.Rdsspq or Mnemonic.Cldemote:
            case Mnemonic.Prefetchw or Mnemonic.Prefetchwt1 or Mnemonic.Prefetchit0 or Mnemonic.Prefetchit1 or Mnemonic.Prefetch:
            case Mnemonic.Bndmk or Mnemonic.Bndcl or Mnemonic.Bndcu or Mnemonic.Bndcn or Mnemonic.Bndmov or Mnemonic.Bndldx or Mnemonic.Bndstx:
                return Offering.Nop;

            // Without their features these are BSF and BSR, whose results are the same for operands other than 0; compilers use them so.
            case Mnemonic.Tzcnt or Mnemonic.Lzcnt:
                return Offering.Offered;
            default:
                break;
        }

        foreach (var feature in code.CpuidFeatures())
        {
            if (!Has(model, feature))
            {
                return Offering.Undefined;
            }
        }

        return Offering.Offered;
    }

    private static bool Has(CpuModel model, CpuidFeature feature) => feature switch
    {
        // Every x86-64 processor.
        CpuidFeature.INTEL8086 or CpuidFeature.INTEL186 or CpuidFeature.INTEL286 or CpuidFeature.INTEL386
            or CpuidFeature.INTEL486 or CpuidFeature.X64 or CpuidFeature.CPUID or CpuidFeature.CMOV or CpuidFeature.CX8
            or CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387 or CpuidFeature.FXSR or CpuidFeature.MMX
            or CpuidFeature.SSE or CpuidFeature.SSE2 or CpuidFeature.TSC or CpuidFeature.MSR or CpuidFeature.SEP
            or CpuidFeature.SYSCALL or CpuidFeature.PAUSE or CpuidFeature.MULTIBYTENOP or CpuidFeature.CLFSH
            or CpuidFeature.RDPMC => true,

        CpuidFeature.ADX => model.Has(CpuFeature.Adx),
        CpuidFeature.AES => model.Has(CpuFeature.Aes),
        CpuidFeature.AVX => model.Has(CpuFeature.Avx),
        CpuidFeature.AVX2 => model.Has(CpuFeature.Avx2),
        CpuidFeature.AVX512_BF16 => model.Has(CpuFeature.Avx512Bf16),
        CpuidFeature.AVX512_BITALG => model.Has(CpuFeature.Avx512Bitalg),
        CpuidFeature.AVX512_FP16 => model.Has(CpuFeature.Avx512Fp16),
        CpuidFeature.AVX512_IFMA => model.Has(CpuFeature.Avx512Ifma),
        CpuidFeature.AVX512_VBMI => model.Has(CpuFeature.Avx512Vbmi),
        CpuidFeature.AVX512_VBMI2 => model.Has(CpuFeature.Avx512Vbmi2),
        CpuidFeature.AVX512_VNNI => model.Has(CpuFeature.Avx512Vnni),
        CpuidFeature.AVX512_VP2INTERSECT => model.Has(CpuFeature.Avx512Vp2Intersect),
        CpuidFeature.AVX512_VPOPCNTDQ => model.Has(CpuFeature.Avx512Vpopcntdq),
        CpuidFeature.AVX512BW => model.Has(CpuFeature.Avx512Bw),
        CpuidFeature.AVX512CD => model.Has(CpuFeature.Avx512Cd),
        CpuidFeature.AVX512DQ => model.Has(CpuFeature.Avx512Dq),
        CpuidFeature.AVX512F => model.Has(CpuFeature.Avx512F),
        CpuidFeature.AVX512VL => model.Has(CpuFeature.Avx512Vl),
        CpuidFeature.AVX_IFMA => model.Has(CpuFeature.AvxIfma),
        CpuidFeature.AVX_NE_CONVERT => model.Has(CpuFeature.AvxNeConvert),
        CpuidFeature.AVX_VNNI => model.Has(CpuFeature.AvxVnni),
        CpuidFeature.AVX_VNNI_INT8 => model.Has(CpuFeature.AvxVnniInt8),
        CpuidFeature.AVX_VNNI_INT16 => model.Has(CpuFeature.AvxVnniInt16),
        CpuidFeature.BMI1 => model.Has(CpuFeature.Bmi1),
        CpuidFeature.BMI2 => model.Has(CpuFeature.Bmi2),
        CpuidFeature.CLFLUSHOPT => model.Has(CpuFeature.ClflushOpt),
        CpuidFeature.CLWB => model.Has(CpuFeature.Clwb),
        CpuidFeature.CMPXCHG16B => model.Has(CpuFeature.Cx16),
        CpuidFeature.F16C => model.Has(CpuFeature.F16c),
        CpuidFeature.FMA => model.Has(CpuFeature.Fma),
        CpuidFeature.FMA4 => model.Has(CpuFeature.Fma4),
        CpuidFeature.FSGSBASE => model.Has(CpuFeature.FsGsBase),
        CpuidFeature.GFNI => model.Has(CpuFeature.Gfni),
        CpuidFeature.INVPCID => model.Has(CpuFeature.Invpcid),
        CpuidFeature.MOVBE => model.Has(CpuFeature.Movbe),
        CpuidFeature.MOVDIRI => model.Has(CpuFeature.Movdiri),
        CpuidFeature.PCLMULQDQ => model.Has(CpuFeature.Pclmulqdq),
        CpuidFeature.POPCNT => model.Has(CpuFeature.Popcnt),
        CpuidFeature.RDPID => model.Has(CpuFeature.Rdpid),
        CpuidFeature.RDRAND => model.Has(CpuFeature.Rdrand),
        CpuidFeature.RDSEED => model.Has(CpuFeature.Rdseed),
        CpuidFeature.RDTSCP => model.Has(CpuFeature.Rdtscp),
        CpuidFeature.SERIALIZE => model.Has(CpuFeature.Serialize),
        CpuidFeature.SHA => model.Has(CpuFeature.Sha),
        CpuidFeature.SHA512 => model.Has(CpuFeature.Sha512),
        CpuidFeature.SM3 => model.Has(CpuFeature.Sm3),
        CpuidFeature.SM4 => model.Has(CpuFeature.Sm4),
        CpuidFeature.SMAP => model.Has(CpuFeature.Smap),
        CpuidFeature.SSE3 => model.Has(CpuFeature.Sse3),
        CpuidFeature.SSE4_1 => model.Has(CpuFeature.Sse41),
        CpuidFeature.SSE4_2 => model.Has(CpuFeature.Sse42),
        CpuidFeature.SSE4A => model.Has(CpuFeature.Sse4a),
        CpuidFeature.SSSE3 => model.Has(CpuFeature.Ssse3),
        CpuidFeature.TBM => model.Has(CpuFeature.Tbm),
        CpuidFeature.VAES => model.Has(CpuFeature.Vaes),
        CpuidFeature.VPCLMULQDQ => model.Has(CpuFeature.Vpclmulqdq),
        CpuidFeature.WBNOINVD => model.Has(CpuFeature.Wbnoinvd),
        CpuidFeature.XOP => model.Has(CpuFeature.Xop),
        CpuidFeature.XSAVE => model.Has(CpuFeature.Xsave),
        CpuidFeature.XSAVEC => model.Has(CpuFeature.XsaveC),
        CpuidFeature.XSAVEOPT => model.Has(CpuFeature.XsaveOpt),
        _ => false,
    };
}
