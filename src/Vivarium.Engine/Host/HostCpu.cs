using System.Runtime.Intrinsics.X86;

namespace Vivarium.Engine.Host;

/// <summary>The host processor's CPUID, read once (it traps and costs microseconds where the host is itself virtual).</summary>
internal static class HostCpu
{
    private const uint IntelEbx = 0x756E6547; // "Genu"
    private const uint ExtendedBase = 0x8000_0000;
    private const uint HypervisorBase = 0x4000_0000;
    private const uint TimingLeaf = 0x4000_0010;
    private const uint OsXsave = 1u << 27;
    private const uint HypervisorPresent = 1u << 31;

    private static readonly CpuidResult Leaf0 = Read(0);
    private static readonly uint MaxExtended = Read(ExtendedBase).Eax;

    public static CpuidResult Vendor => Leaf0;

    public static bool IsIntel => Leaf0.Ebx == IntelEbx;

    /// <summary>Leaf 1 EAX: family, model, stepping.</summary>
    public static CpuidResult Signature { get; } = Read(1);

    /// <summary>Leaves 80000002H to 80000004H: the processor's name in 48 characters.</summary>
    public static uint[] Brand { get; } = ReadBrand();

    /// <summary>The host's feature words, in the order of <see cref="CpuidWord"/>.</summary>
    public static uint[] Features { get; } = ReadFeatures();

    /// <summary>XCR0 bits that the host's processor has and its system has enabled.</summary>
    public static ulong Xcr0 { get; } = ReadXcr0();

    /// <summary>Size and standard-format offset of an XSAVE component (leaf 0DH).</summary>
    public static CpuidResult XsaveComponent(int index) => Basic(0xD, (uint)index);

    /// <summary>The TSC's frequency in Hz, if the processor or a hypervisor tells it; else 0.</summary>
    public static ulong ReadTscFrequency()
    {
        var crystal = Basic(0x15);
        if (crystal is { Eax: not 0, Ebx: not 0, Ecx: not 0 })
        {
            return (ulong)crystal.Ecx * crystal.Ebx / crystal.Eax;
        }

        return (Signature.Ecx & HypervisorPresent) != 0 && Read(HypervisorBase).Eax >= TimingLeaf ? Read(TimingLeaf).Eax * 1000ul : 0;
    }

    private static CpuidResult Read(uint leaf, uint subleaf = 0)
    {
        var (eax, ebx, ecx, edx) = X86Base.CpuId((int)leaf, (int)subleaf);
        return new CpuidResult((uint)eax, (uint)ebx, (uint)ecx, (uint)edx);
    }

    private static CpuidResult Basic(uint leaf, uint subleaf = 0) => leaf <= Leaf0.Eax ? Read(leaf, subleaf) : default;

    private static CpuidResult Extended(uint leaf) => leaf <= MaxExtended ? Read(leaf) : default;

    private static uint[] ReadBrand()
    {
        const uint first = ExtendedBase + 2, last = ExtendedBase + 4;
        var words = new List<uint>();
        for (uint leaf = first; leaf <= last; leaf++)
        {
            CpuidResult part = Extended(leaf);
            words.AddRange([part.Eax, part.Ebx, part.Ecx, part.Edx]);
        }

        return [.. words];
    }

    private static uint[] ReadFeatures()
    {
        var words = new uint[(int)CpuidWord.Count];
        var leaf7 = Basic(7);
        var leaf7Sub1 = leaf7.Eax >= 1 ? Basic(7, 1) : default;
        var extended1 = Extended(ExtendedBase + 1);
        words[(int)CpuidWord.Leaf1Edx] = Signature.Edx;
        words[(int)CpuidWord.Leaf1Ecx] = Signature.Ecx;
        words[(int)CpuidWord.Leaf7Ebx] = leaf7.Ebx;
        words[(int)CpuidWord.Leaf7Ecx] = leaf7.Ecx;
        words[(int)CpuidWord.Leaf7Edx] = leaf7.Edx;
        words[(int)CpuidWord.Leaf7Sub1Eax] = leaf7Sub1.Eax;
        words[(int)CpuidWord.Leaf7Sub1Edx] = leaf7Sub1.Edx;
        words[(int)CpuidWord.LeafDSub1Eax] = Basic(0xD, 1).Eax;
        words[(int)CpuidWord.Extended1Edx] = extended1.Edx;
        words[(int)CpuidWord.Extended1Ecx] = extended1.Ecx;
        words[(int)CpuidWord.Extended8Ebx] = Extended(ExtendedBase + 8).Ebx;
        words[(int)CpuidWord.Extended21Eax] = Extended(ExtendedBase + 0x21).Eax;
        return words;
    }

    /// <summary>
    /// Without XGETBV: leaf 0DH says what the processor has, and in EBX how large the area is for what is enabled now,
    /// so a component whose place lies inside is enabled.
    /// </summary>
    private static ulong ReadXcr0()
    {
        const ulong legacy = 3;
        if ((Signature.Ecx & OsXsave) == 0)
        {
            return legacy;
        }

        var main = Basic(0xD);
        ulong enabled = legacy;
        for (int i = 2; i < 10; i++)
        {
            if ((main.Eax >> i & 1) != 0)
            {
                var component = XsaveComponent(i);
                if (component.Eax != 0 && component.Ebx + component.Eax <= main.Ebx)
                {
                    enabled |= 1ul << i;
                }
            }
        }

        return enabled;
    }
}
