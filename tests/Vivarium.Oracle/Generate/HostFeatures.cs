using System.Runtime.Intrinsics.X86;
using Iced.Intel;

namespace Vivarium.Oracle.Generate;

/// <summary>Which of Iced's CPUID features this host has (SDM vol. 2A, CPUID; APM vol. 3, appendix E).</summary>
internal static class HostFeatures
{
    private static readonly (int Eax, int Ebx, int Ecx, int Edx) s_leaf1 = X86Base.CpuId(1, 0);
    private static readonly (int Eax, int Ebx, int Ecx, int Edx) s_leaf7 = X86Base.CpuId(7, 0);
    private static readonly (int Eax, int Ebx, int Ecx, int Edx) s_extended = X86Base.CpuId(unchecked((int)0x8000_0001), 0);
    private static readonly (int Eax, int Ebx, int Ecx, int Edx) s_leaf7Sub1 = s_leaf7.Eax >= 1 ? X86Base.CpuId(7, 1) : default;

    /// <summary>True when the host's x87 is the 387's or later and everything of the baseline is there, as on any x86-64.</summary>
    public static bool Has(CpuidFeature feature) => feature switch
    {
        CpuidFeature.INTEL8086 or CpuidFeature.INTEL186 or CpuidFeature.INTEL286 or CpuidFeature.INTEL386
            or CpuidFeature.INTEL486 or CpuidFeature.X64 or CpuidFeature.CPUID or CpuidFeature.MULTIBYTENOP
            or CpuidFeature.PAUSE => true,
        CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387 => Bit(s_leaf1.Edx, 0),
        CpuidFeature.CX8 => Bit(s_leaf1.Edx, 8),
        CpuidFeature.CMOV => Bit(s_leaf1.Edx, 15),
        CpuidFeature.CLFSH => Bit(s_leaf1.Edx, 19),
        CpuidFeature.MMX => Bit(s_leaf1.Edx, 23),
        CpuidFeature.FXSR => Bit(s_leaf1.Edx, 24),
        CpuidFeature.SSE => Bit(s_leaf1.Edx, 25),
        CpuidFeature.SSE2 => Bit(s_leaf1.Edx, 26),
        CpuidFeature.SSE3 => Bit(s_leaf1.Ecx, 0),
        CpuidFeature.PCLMULQDQ => Bit(s_leaf1.Ecx, 1),
        CpuidFeature.SSSE3 => Bit(s_leaf1.Ecx, 9),
        CpuidFeature.FMA => Bit(s_leaf1.Ecx, 12),
        CpuidFeature.CMPXCHG16B => Bit(s_leaf1.Ecx, 13),
        CpuidFeature.SSE4_1 => Bit(s_leaf1.Ecx, 19),
        CpuidFeature.SSE4_2 => Bit(s_leaf1.Ecx, 20),
        CpuidFeature.MOVBE => Bit(s_leaf1.Ecx, 22),
        CpuidFeature.POPCNT => Bit(s_leaf1.Ecx, 23),
        CpuidFeature.AES => Bit(s_leaf1.Ecx, 25),
        CpuidFeature.AVX => Bit(s_leaf1.Ecx, 28) && Avx.IsSupported,
        CpuidFeature.F16C => Bit(s_leaf1.Ecx, 29),
        CpuidFeature.FSGSBASE => Bit(s_leaf7.Ebx, 0),
        CpuidFeature.BMI1 => Bit(s_leaf7.Ebx, 3),
        CpuidFeature.AVX2 => Bit(s_leaf7.Ebx, 5) && Avx2.IsSupported,
        CpuidFeature.BMI2 => Bit(s_leaf7.Ebx, 8),
        CpuidFeature.ADX => Bit(s_leaf7.Ebx, 19),
        CpuidFeature.CLFLUSHOPT => Bit(s_leaf7.Ebx, 23),
        CpuidFeature.CLWB => Bit(s_leaf7.Ebx, 24),
        CpuidFeature.SHA => Bit(s_leaf7.Ebx, 29),
        CpuidFeature.PREFETCHWT1 => Bit(s_leaf7.Ecx, 0),
        CpuidFeature.GFNI => Bit(s_leaf7.Ecx, 8),
        CpuidFeature.VAES => Bit(s_leaf7.Ecx, 9),
        CpuidFeature.VPCLMULQDQ => Bit(s_leaf7.Ecx, 10),
        CpuidFeature.CLDEMOTE => Bit(s_leaf7.Ecx, 25),
        CpuidFeature.MOVDIRI => Bit(s_leaf7.Ecx, 27),
        CpuidFeature.MOVDIR64B => Bit(s_leaf7.Ecx, 28),
        CpuidFeature.SERIALIZE => Bit(s_leaf7.Edx, 14),
        CpuidFeature.AVX_VNNI => Bit(s_leaf7Sub1.Eax, 4),
        CpuidFeature.AVX_IFMA => Bit(s_leaf7Sub1.Eax, 23),
        CpuidFeature.CMPCCXADD => Bit(s_leaf7Sub1.Eax, 7),
        CpuidFeature.AVX_VNNI_INT8 => Bit(s_leaf7Sub1.Edx, 4),
        CpuidFeature.AVX_NE_CONVERT => Bit(s_leaf7Sub1.Edx, 5),
        CpuidFeature.AVX512F => Bit(s_leaf7.Ebx, 16) && Avx512F.IsSupported,
        CpuidFeature.AVX512DQ => Bit(s_leaf7.Ebx, 17),
        CpuidFeature.AVX512_IFMA => Bit(s_leaf7.Ebx, 21),
        CpuidFeature.AVX512CD => Bit(s_leaf7.Ebx, 28),
        CpuidFeature.AVX512BW => Bit(s_leaf7.Ebx, 30),
        CpuidFeature.AVX512VL => Bit(s_leaf7.Ebx, 31),
        CpuidFeature.AVX512_VBMI => Bit(s_leaf7.Ecx, 1),
        CpuidFeature.AVX512_VBMI2 => Bit(s_leaf7.Ecx, 6),
        CpuidFeature.AVX512_VNNI => Bit(s_leaf7.Ecx, 11),
        CpuidFeature.AVX512_BITALG => Bit(s_leaf7.Ecx, 12),
        CpuidFeature.AVX512_VPOPCNTDQ => Bit(s_leaf7.Ecx, 14),
        CpuidFeature.AVX512_VP2INTERSECT => Bit(s_leaf7.Edx, 8),
        CpuidFeature.AVX512_FP16 => Bit(s_leaf7.Edx, 23),
        CpuidFeature.AVX512_BF16 => Bit(s_leaf7Sub1.Eax, 5),
        CpuidFeature.SSE4A => Bit(s_extended.Ecx, 6),
        CpuidFeature.LZCNT => Bit(s_extended.Ecx, 5),
        CpuidFeature.PREFETCHW => Bit(s_extended.Ecx, 8),
        CpuidFeature.XOP => Bit(s_extended.Ecx, 11),
        CpuidFeature.FMA4 => Bit(s_extended.Ecx, 16),
        CpuidFeature.TBM => Bit(s_extended.Ecx, 21),
        CpuidFeature.D3NOWEXT => Bit(s_extended.Edx, 30),
        CpuidFeature.D3NOW => Bit(s_extended.Edx, 31),
        _ => false,
    };

    /// <summary>The first feature of the form that the host lacks, or null.</summary>
    public static CpuidFeature? Missing(Code form)
    {
        // All of these work on state that has to be there, whatever else of AVX-512 they belong to.
        if (UsesAvx512State(form) && !Has(CpuidFeature.AVX512F))
        {
            return CpuidFeature.AVX512F;
        }

        foreach (CpuidFeature feature in form.CpuidFeatures())
        {
            if (!Has(feature))
            {
                return feature;
            }
        }

        return null;
    }

    private static bool UsesAvx512State(Code form)
        => form.Encoding() == EncodingKind.EVEX || form.CpuidFeatures()[0] is >= CpuidFeature.AVX512_4FMAPS and <= CpuidFeature.AVX512VL;

    private static bool Bit(int register, int bit) => ((register >> bit) & 1) != 0;
}
