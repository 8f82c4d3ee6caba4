using System.Numerics;
using System.Runtime.InteropServices;
using System.Text;
using Vivarium.Engine.Host;

namespace Vivarium.Engine;

// What CPUID answers (SDM vol. 2A, CPUID; APM vol. 3, appendices D and E). Unknown leaves are all zeros.
public sealed partial class CpuModel
{
    private const uint MaxBasicIntel = 0x16;
    private const uint MaxBasicAmd = 0xD;
    private const uint HypervisorBase = 0x4000_0000;
    private const uint HypervisorFeatures = 0x4000_0001;
    private const uint HypervisorTiming = 0x4000_0010;
    private const uint ExtendedBase = 0x8000_0000;
    private const uint MaxExtendedIntel = 0x8000_0008;
    private const uint MaxExtendedAmd = 0x8000_0021;
    private const uint CacheLine = 64;

    /// <summary>The parts of the paravirtual interface that a guest finds where the model shows a hypervisor. Faults are never asynchronous, and memory is never encrypted.</summary>
    private const KvmFeatures Paravirtual =
        KvmFeatures.ClockSource | KvmFeatures.NopIoDelay | KvmFeatures.ClockSource2 | KvmFeatures.StealTime | KvmFeatures.PvEoi
        | KvmFeatures.PvUnhalt | KvmFeatures.PvTlbFlush | KvmFeatures.PvSendIpi | KvmFeatures.PollControl
        | KvmFeatures.PvSchedYield | KvmFeatures.MigrationControl | KvmFeatures.ClockSourceStable;

    /// <summary>The id width of the package level in x2APIC ids: enough bits for all processors.</summary>
    private int PackageShift => BitOperations.Log2(BitOperations.RoundUpToPowerOf2((uint)ProcessorCount));

    /// <summary>The answer of CPUID.</summary>
    public CpuidResult Cpuid(uint leaf, uint subleaf, in CpuidContext context)
    {
        if (leaf >= ExtendedBase)
        {
            return leaf <= (IsIntel ? MaxExtendedIntel : MaxExtendedAmd) ? ExtendedLeaf(leaf, subleaf, context) : default;
        }

        if (leaf >= HypervisorBase)
        {
            return Has(CpuFeature.Hypervisor) ? HypervisorLeaf(leaf) : default;
        }

        return leaf <= (IsIntel ? MaxBasicIntel : MaxBasicAmd) ? BasicLeaf(leaf, subleaf, context) : default;
    }

    private CpuidResult BasicLeaf(uint leaf, uint subleaf, in CpuidContext context) => leaf switch
    {
        0 => HostCpu.Vendor with { Eax = IsIntel ? MaxBasicIntel : MaxBasicAmd },
        1 => Signature(context),
        // One descriptor, FFH: see leaf 4.
        2 when IsIntel => new(0x0000_FF01, 0, 0, 0),
        4 when IsIntel => CacheParameters(subleaf, ((uint)ProcessorCount - 1) << 26),
        // 5: MONITOR is not offered. 6, EAX bit 2: the local APIC timer never stops.
        6 => new(4, 0, 0, 0),
        7 => StructuredFeatures(subleaf),
        0xB => Topology(subleaf, context),
        0xD when Has(CpuFeature.Xsave) => ExtendedState(subleaf, context),
        0x15 => TscAndCrystal(),
        0x16 => new((uint)(TscFrequency / 1_000_000), (uint)(TscFrequency / 1_000_000), 100, 0),
        _ => default,
    };

    private CpuidResult Signature(in CpuidContext context)
    {
        uint ebx = ((context.ApicId & 0xFF) << 24) | ((uint)Math.Min(ProcessorCount, 255) << 16) | (CacheLine / 8 << 8);
        uint ecx = _features[(int)CpuidWord.Leaf1Ecx];
        if (context.OsXsave)
        {
            ecx |= 1u << ((int)CpuFeature.OsXsave & 31);
        }

        return new(HostCpu.Signature.Eax, ebx, ecx, _features[(int)CpuidWord.Leaf1Edx]);
    }

    private CpuidResult StructuredFeatures(uint subleaf) => subleaf switch
    {
        0 => new(1, _features[(int)CpuidWord.Leaf7Ebx], _features[(int)CpuidWord.Leaf7Ecx], _features[(int)CpuidWord.Leaf7Edx]),
        1 => new(_features[(int)CpuidWord.Leaf7Sub1Eax], 0, 0, _features[(int)CpuidWord.Leaf7Sub1Edx]),
        _ => default,
    };

    /// <summary>Leaves 4 and 8000001DH: level 1 data and code of 32 KiB, level 2 of 1 MiB a core, level 3 of 16 MiB shared.</summary>
    private CpuidResult CacheParameters(uint subleaf, uint coresField)
    {
        uint shared = (1u << PackageShift) - 1;
        return subleaf switch
        {
            0 => Cache(type: 1, level: 1, sharedBy: 0, ways: 8, sets: 64),
            1 => Cache(type: 2, level: 1, sharedBy: 0, ways: 8, sets: 64),
            2 => Cache(type: 3, level: 2, sharedBy: 0, ways: 16, sets: 1024),
            3 => Cache(type: 3, level: 3, sharedBy: shared, ways: 16, sets: 16384),
            _ => default,
        };

        CpuidResult Cache(uint type, uint level, uint sharedBy, uint ways, uint sets)
        {
            const uint selfInitializing = 1 << 8;
            return new(type | level << 5 | selfInitializing | (sharedBy & 0xFFF) << 14 | coresField, ways - 1 << 22 | CacheLine - 1, sets - 1, 0);
        }
    }

    private CpuidResult Topology(uint subleaf, in CpuidContext context)
    {
        const uint threadLevel = 1, coreLevel = 2;
        return subleaf switch
        {
            0 => new(0, 1, threadLevel << 8, context.ApicId),
            1 => new((uint)PackageShift, (uint)ProcessorCount, (coreLevel << 8) | 1, context.ApicId),
            _ => new(0, 0, subleaf & 0xFF, context.ApicId),
        };
    }

    private CpuidResult ExtendedState(uint subleaf, in CpuidContext context) => subleaf switch
    {
        0 => new((uint)XsaveMask, (uint)StandardXsaveSize(context.Xcr0), (uint)XsaveSize, (uint)(XsaveMask >> 32)),
        1 => new(_features[(int)CpuidWord.LeafDSub1Eax], (uint)CompactedXsaveSize(context.Xcr0), 0, 0),
        < 63 when subleaf < _xsaveComponents.Length => _xsaveComponents[subleaf],
        _ => default,
    };

    /// <summary>
    /// Leaf 15H, from which Linux takes the TSC's frequency (and the APIC timer's, the crystal) on Intel only. AMD
    /// has no such leaf: there Linux learns the frequency from kvmclock where there is one, or measures it against the
    /// PIT in a few milliseconds. (It reads the hypervisor's timing leaf only under the signatures of others.)
    /// The ratio is the best with a numerator that keeps Linux's kilohertz * numerator within 32 bits.
    /// </summary>
    private CpuidResult TscAndCrystal()
    {
        const ulong maxNumerator = uint.MaxValue / (ApicTimerFrequency / 1000);
        var (numerator, denominator) = BestRatio(TscFrequency, ApicTimerFrequency, maxNumerator);
        return new((uint)denominator, (uint)numerator, ApicTimerFrequency, 0);
    }

    /// <summary>The last convergent of the continued fraction of a/b whose numerator is within the limit.</summary>
    internal static (ulong Numerator, ulong Denominator) BestRatio(ulong a, ulong b, ulong maxNumerator)
    {
        (ulong previousNumerator, ulong numerator) = (1, a / b);
        (ulong previousDenominator, ulong denominator) = (0, 1);
        while (a % b != 0)
        {
            (a, b) = (b, a % b);
            ulong term = a / b;
            ulong nextNumerator = (term * numerator) + previousNumerator;
            if (nextNumerator > maxNumerator)
            {
                break;
            }

            (previousNumerator, numerator) = (numerator, nextNumerator);
            (previousDenominator, denominator) = (denominator, (term * denominator) + previousDenominator);
        }

        return (numerator, denominator);
    }

    /// <summary>
    /// KVM's signature, "KVMKVMKVM" and three zeros, because it is KVM's interface that guests find; its features; and
    /// the timing leaf that several hypervisors share, TSC and APIC timer in kHz. No hints: all of them say that the
    /// guest's processors never wait for a host CPU.
    /// </summary>
    private CpuidResult HypervisorLeaf(uint leaf) => leaf switch
    {
        HypervisorBase => new(HypervisorTiming, 0x4B4D_564B, 0x564B_4D56, 0x0000_004D),
        HypervisorFeatures => new((uint)Paravirtual, 0, 0, 0),
        HypervisorTiming => new((uint)(TscFrequency / 1000), ApicTimerFrequency / 1000, 0, 0),
        _ => default,
    };

    private CpuidResult ExtendedLeaf(uint leaf, uint subleaf, in CpuidContext context)
    {
        const uint brand = ExtendedBase + 2;
        // L1 TLB and cache descriptions; the sizes are those of the cache leaves.
        const uint level1 = 0x2008_0140, level2 = 0x0400_8140, level3 = 0x0080_8140, tlb = 0xFF40_FF40;
        const uint invariantTsc = 1 << 8;
        switch (leaf)
        {
            case ExtendedBase:
                return HostCpu.Vendor with { Eax = IsIntel ? MaxExtendedIntel : MaxExtendedAmd };
            case ExtendedBase + 1:
                return new(IsIntel ? 0 : HostCpu.Signature.Eax, 0, _features[(int)CpuidWord.Extended1Ecx], ExtendedFeaturesEdx);
            case >= brand and < brand + 3:
                int part = (int)(leaf - brand) * 4;
                return new(_brand[part], _brand[part + 1], _brand[part + 2], _brand[part + 3]);
            case ExtendedBase + 5 when !IsIntel:
                return new(tlb, tlb, level1, level1);
            case ExtendedBase + 6:
                return new(0, 0, level2, IsIntel ? 0 : level3);
            case ExtendedBase + 7:
                return new(0, 0, 0, invariantTsc);
            case ExtendedBase + 8:
                uint cores = IsIntel ? 0 : (uint)PackageShift << 12 | (uint)(ProcessorCount - 1) & 0xFF;
                return new(PhysicalAddressBits | LinearAddressBits << 8, _features[(int)CpuidWord.Extended8Ebx], cores, 0);
            case 0x8000_001D:
                return CacheParameters(subleaf, 0);
            case 0x8000_001E:
                return new(context.ApicId, context.ApicId & 0xFF, 0, 0);
            case 0x8000_0021:
                // ECX: not affected by transient scheduler attacks, for the reason given at the feature set.
                const uint tsaSqNo = 1 << 1, tsaL1No = 1 << 2;
                return new(_features[(int)CpuidWord.Extended21Eax], 0, tsaSqNo | tsaL1No, 0);
            default:
                return default;
        }
    }

    /// <summary>AMD repeats leaf 1's common bits in leaf 80000001H.</summary>
    private uint ExtendedFeaturesEdx
    {
        get
        {
            const uint repeated = 0x0183_F3FF;
            uint edx = _features[(int)CpuidWord.Extended1Edx];
            return IsIntel ? edx : edx | _features[(int)CpuidWord.Leaf1Edx] & repeated;
        }
    }

    private static uint[] EncodeBrand(string name)
    {
        Span<byte> text = stackalloc byte[48];
        text.Clear();
        Encoding.ASCII.GetBytes($"Vivarium virtual CPU ({name})", text);
        return MemoryMarshal.Cast<byte, uint>(text).ToArray();
    }
}
