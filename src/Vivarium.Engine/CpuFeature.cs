namespace Vivarium.Engine;

/// <summary>A CPUID register that is a set of feature bits.</summary>
internal enum CpuidWord
{
    Leaf1Edx,
    Leaf1Ecx,
    Leaf7Ebx,
    Leaf7Ecx,
    Leaf7Edx,
    Leaf7Sub1Eax,
    Leaf7Sub1Edx,
    LeafDSub1Eax,
    Extended1Edx,
    Extended1Ecx,
    Extended8Ebx,
    Extended21Eax,
    Count,
}

/// <summary>
/// A processor feature with a CPUID bit (SDM vol. 2A, CPUID; APM vol. 3, appendix E). The value is the place of the
/// bit: 32 times the feature word's number, plus the bit's number.
/// </summary>
public enum CpuFeature
{
    // Leaf 1, EDX.
    Fpu = 0,
    Vme = 1,
    De = 2,
    Pse = 3,
    Tsc = 4,
    Msr = 5,
    Pae = 6,
    Mce = 7,
    Cx8 = 8,
    Apic = 9,
    Sep = 11,
    Mtrr = 12,
    Pge = 13,
    Mca = 14,
    Cmov = 15,
    Pat = 16,
    Pse36 = 17,
    Clflush = 19,
    Mmx = 23,
    Fxsr = 24,
    Sse = 25,
    Sse2 = 26,
    Htt = 28,

    // Leaf 1, ECX.
    Sse3 = 32 + 0,
    Pclmulqdq = 32 + 1,
    Ssse3 = 32 + 9,
    Fma = 32 + 12,
    Cx16 = 32 + 13,
    Pcid = 32 + 17,
    Sse41 = 32 + 19,
    Sse42 = 32 + 20,
    X2Apic = 32 + 21,
    Movbe = 32 + 22,
    Popcnt = 32 + 23,
    TscDeadline = 32 + 24,
    Aes = 32 + 25,
    Xsave = 32 + 26,
    OsXsave = 32 + 27,
    Avx = 32 + 28,
    F16c = 32 + 29,
    Rdrand = 32 + 30,
    Hypervisor = 32 + 31,

    // Leaf 7, EBX.
    FsGsBase = 64 + 0,
    TscAdjust = 64 + 1,
    Bmi1 = 64 + 3,
    Avx2 = 64 + 5,
    FdpExceptionOnly = 64 + 6,
    Smep = 64 + 7,
    Bmi2 = 64 + 8,
    Erms = 64 + 9,
    Invpcid = 64 + 10,
    DeprecatesFcsFds = 64 + 13,
    Avx512F = 64 + 16,
    Avx512Dq = 64 + 17,
    Rdseed = 64 + 18,
    Adx = 64 + 19,
    Smap = 64 + 20,
    Avx512Ifma = 64 + 21,
    ClflushOpt = 64 + 23,
    Clwb = 64 + 24,
    Avx512Cd = 64 + 28,
    Sha = 64 + 29,
    Avx512Bw = 64 + 30,
    Avx512Vl = 64 + 31,

    // Leaf 7, ECX.
    Avx512Vbmi = 96 + 1,
    Umip = 96 + 2,
    Avx512Vbmi2 = 96 + 6,
    Gfni = 96 + 8,
    Vaes = 96 + 9,
    Vpclmulqdq = 96 + 10,
    Avx512Vnni = 96 + 11,
    Avx512Bitalg = 96 + 12,
    Avx512Vpopcntdq = 96 + 14,
    Rdpid = 96 + 22,
    Movdiri = 96 + 27,

    // Leaf 7, EDX.
    Avx512Vp2Intersect = 128 + 8,
    Serialize = 128 + 14,
    Avx512Fp16 = 128 + 23,
    SpecCtrl = 128 + 26,
    ArchCapabilities = 128 + 29,

    // Leaf 7 subleaf 1, EAX.
    Sha512 = 160 + 0,
    Sm3 = 160 + 1,
    Sm4 = 160 + 2,
    AvxVnni = 160 + 4,
    Avx512Bf16 = 160 + 5,
    AvxIfma = 160 + 23,

    // Leaf 7 subleaf 1, EDX.
    AvxVnniInt8 = 192 + 4,
    AvxNeConvert = 192 + 5,
    AvxVnniInt16 = 192 + 10,

    // Leaf 0DH subleaf 1, EAX.
    XsaveOpt = 224 + 0,
    XsaveC = 224 + 1,
    Xgetbv1 = 224 + 2,

    // Leaf 80000001H, EDX.
    Syscall = 256 + 11,
    Nx = 256 + 20,
    MmxExtensions = 256 + 22,
    Pdpe1Gb = 256 + 26,
    Rdtscp = 256 + 27,
    LongMode = 256 + 29,

    // Leaf 80000001H, ECX.
    LahfLm = 288 + 0,
    CmpLegacy = 288 + 1,
    Lzcnt = 288 + 5,
    Sse4a = 288 + 6,
    MisalignedSse = 288 + 7,
    Prefetchw = 288 + 8,
    Xop = 288 + 11,
    Fma4 = 288 + 16,
    Tbm = 288 + 21,
    TopologyExtensions = 288 + 22,

    // Leaf 80000008H, EBX.
    XsaveErrorPointers = 320 + 2,
    Wbnoinvd = 320 + 9,
    SsbNo = 320 + 26,
    BtcNo = 320 + 29,

    // Leaf 80000021H, EAX.
    LfenceSerializing = 352 + 2,
    NullSelectorClearsBase = 352 + 6,
    AutomaticIbrs = 352 + 8,
    SrsoNo = 352 + 29,
}
