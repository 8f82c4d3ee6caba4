using static Vivarium.Engine.CpuFeature;

namespace Vivarium.Engine;

/// <summary>Which features each CPU model has.</summary>
internal static class CpuFeatureSets
{
    /// <summary>
    /// What the monitor itself provides, whatever the host has: paging, interrupt, system-register and state-saving
    /// features are emulated. Every model has them.
    /// </summary>
    public static ReadOnlySpan<CpuFeature> Emulated =>
    [
        Vme, De, Pse, Tsc, Msr, Pae, Mce, Apic, Sep, Mtrr, Pge, Mca, Pat, Pse36, Fxsr,
        Pcid, X2Apic, TscDeadline,
        FsGsBase, TscAdjust, Smep, Smap, Invpcid, Umip, Rdpid,
        // A long REP MOVSB is one pass page by page; short ones have a cost, so "fast short REP MOV" is not claimed.
        Erms,
        Syscall, Nx, Pdpe1Gb, Rdtscp, LongMode,
        // x87 code and data segment selectors are saved as 0, and FOP, FIP and FDP by every save.
        DeprecatesFcsFds,
    ];

    /// <summary>Emulated and offered with XSAVE.</summary>
    public static ReadOnlySpan<CpuFeature> EmulatedWithXsave => [XsaveOpt, XsaveC, Xgetbv1];

    /// <summary>
    /// Emulated, and of AMD processors only. Why the "not affected" bits: speculation is the host's, and the host's
    /// kernel and microcode decide about it; a guest's own flushes and retpolines run as translated code, where they
    /// cost much and protect nothing. A guest that believes that its processor needs none does not spend time on them.
    /// </summary>
    public static ReadOnlySpan<CpuFeature> EmulatedAmd =>
        [TopologyExtensions, XsaveErrorPointers, Wbnoinvd, SsbNo, BtcNo, NullSelectorClearsBase, AutomaticIbrs, SrsoNo];

    /// <summary>Emulated, and of Intel processors only; the answers are in IA32_ARCH_CAPABILITIES, for the same reason.</summary>
    public static ReadOnlySpan<CpuFeature> EmulatedIntel => [SpecCtrl, ArchCapabilities];

    /// <summary>x86-64-v1 and v2 (System V psABI, "Micro-Architecture Levels").</summary>
    public static ReadOnlySpan<CpuFeature> Level2 =>
        [Fpu, Cx8, Cmov, Clflush, Mmx, Sse, Sse2, Sse3, Ssse3, Sse41, Sse42, Cx16, Popcnt, LahfLm];

    /// <summary>What x86-64-v3 adds.</summary>
    public static ReadOnlySpan<CpuFeature> Level3 => [Xsave, Avx, Avx2, Bmi1, Bmi2, F16c, Fma, Lzcnt, Movbe];

    /// <summary>What x86-64-v4 adds.</summary>
    public static ReadOnlySpan<CpuFeature> Level4 => [Avx512F, Avx512Bw, Avx512Cd, Avx512Dq, Avx512Vl];

    /// <summary>Offered by x86-64-v2 and up where the host has them.</summary>
    public static ReadOnlySpan<CpuFeature> OptionalLevel2 => [Prefetchw, LfenceSerializing];

    /// <summary>Offered by x86-64-v3 and up where the host has them.</summary>
    public static ReadOnlySpan<CpuFeature> OptionalLevel3 => [Aes, Pclmulqdq, Rdrand, Rdseed, Adx, Sha, ClflushOpt, Clwb];

    /// <summary>
    /// Everything that can run natively: the model "host". Left out although hosts have them: what writes memory
    /// through an implicit operand (CLZERO, MOVDIR64B), what needs state outside the XSAVE components offered (AMX, PKU, CET), TSX,
    /// virtualization, and 3DNow!.
    /// </summary>
    public static ReadOnlySpan<CpuFeature> OptionalHost =>
    [
        Xsave, Avx, Avx2, Bmi1, Bmi2, F16c, Fma, Lzcnt, Movbe,
        Avx512F, Avx512Bw, Avx512Cd, Avx512Dq, Avx512Vl,
        Avx512Ifma, Avx512Vbmi, Avx512Vbmi2, Avx512Vnni, Avx512Bitalg, Avx512Vpopcntdq, Avx512Vp2Intersect, Avx512Fp16, Avx512Bf16,
        Gfni, Vaes, Vpclmulqdq, AvxVnni, AvxIfma, AvxVnniInt8, AvxNeConvert, AvxVnniInt16, Sha512, Sm3, Sm4,
        Movdiri, Serialize, MmxExtensions, Sse4a, MisalignedSse, Xop, Fma4, Tbm,
    ];

    /// <summary>Features that are useless without AVX state.</summary>
    public static ReadOnlySpan<CpuFeature> NeedAvx =>
        [Avx, Avx2, F16c, Fma, Vaes, Vpclmulqdq, AvxVnni, AvxIfma, AvxVnniInt8, AvxNeConvert, AvxVnniInt16, Sha512, Sm3, Sm4, Xop, Fma4];

    /// <summary>Features that are useless without AVX-512 state.</summary>
    public static ReadOnlySpan<CpuFeature> NeedAvx512 =>
    [
        Avx512F, Avx512Bw, Avx512Cd, Avx512Dq, Avx512Vl, Avx512Ifma, Avx512Vbmi, Avx512Vbmi2, Avx512Vnni, Avx512Bitalg,
        Avx512Vpopcntdq, Avx512Vp2Intersect, Avx512Fp16, Avx512Bf16,
    ];
}
