using Vivarium.Engine.Host;

namespace Vivarium.Engine;

/// <summary>
/// The kind of processor that a guest sees. Unprivileged instructions run natively, so a model can offer only what the
/// host has; everything else is emulated and the same everywhere.
/// </summary>
public sealed partial class CpuModel
{
    /// <summary>Largest standard-format XSAVE area of any model: legacy, header, AVX, AVX-512, PKRU (SDM vol. 1, 13.4-13.5).</summary>
    public const int MaxXsaveSize = 2816;

    /// <summary>Legacy region and header (SDM vol. 1, 13.4.1-13.4.2).</summary>
    public const int XsaveExtendedOffset = 576;

    /// <summary>MAXPHYADDR.</summary>
    public const int PhysicalAddressBits = 40;

    public const int LinearAddressBits = 48;

    /// <summary>What the local APIC timer counts, in Hz; leaf 15H calls it the core crystal clock.</summary>
    public const uint ApicTimerFrequency = 1_000_000_000;

    private const int X87 = 0, Sse = 1, Avx = 2, FirstAvx512 = 5, LastAvx512 = 7;

    private readonly uint[] _features = new uint[(int)CpuidWord.Count];
    private readonly CpuidResult[] _xsaveComponents = new CpuidResult[LastAvx512 + 1];
    private readonly uint[] _brand;

    private CpuModel(string name, int processors, bool showHypervisor)
    {
        Name = name;
        ProcessorCount = processors;
        Add(CpuFeatureSets.Emulated);
        Add(IsIntel ? CpuFeatureSets.EmulatedIntel : CpuFeatureSets.EmulatedAmd);
        Set(CpuFeature.Hypervisor, showHypervisor);
        Set(CpuFeature.Htt, processors > 1);
        Set(CpuFeature.CmpLegacy, processors > 1 && !IsIntel);

        Add(CpuFeatureSets.Level2);
        Allow(CpuFeatureSets.OptionalLevel2);
        if (name != "x86-64-v2")
        {
            Allow(CpuFeatureSets.OptionalLevel3);
        }

        if (name is "x86-64-v3" or "x86-64-v4")
        {
            Add(CpuFeatureSets.Level3);
        }

        if (name == "x86-64-v4")
        {
            Add(CpuFeatureSets.Level4);
        }

        if (name == "host")
        {
            Allow(CpuFeatureSets.OptionalHost);
        }

        if (Has(CpuFeature.Xsave))
        {
            Add(CpuFeatureSets.EmulatedWithXsave);
        }

        LayOutXsave();
        _brand = showHypervisor ? EncodeBrand(name) : HostCpu.Brand;
    }

    /// <summary>The names that <c>--cpu</c> takes, the default first.</summary>
    public static IReadOnlyList<string> Names { get; } = ["x86-64-v3", "x86-64-v2", "x86-64-v4", "host"];

    public string Name { get; }

    /// <summary>How many processors the topology leaves tell of.</summary>
    public int ProcessorCount { get; }

    /// <summary>The vendor is the host's: natively run instructions have its quirks.</summary>
    public bool IsIntel => HostCpu.IsIntel;

    /// <summary>Whether the host's processor is Intel's (or behaves so).</summary>
    public static bool HostIsIntel => HostCpu.IsIntel;

    /// <summary>Frequency of the guest's time-stamp counter in Hz: the host's, so that RDTSC needs no exit.</summary>
    public ulong TscFrequency => HostTscFrequency;

    /// <summary>Frequency of the host's time-stamp counter in Hz. May wait for some milliseconds when it is first asked for; see <see cref="BeginMeasurement"/>.</summary>
    public static ulong HostTscFrequency => Host.TscFrequency.Host.Hertz;

    /// <summary>Notes the time, where the host's frequencies have to be measured: who asks for them later waits for less, or not at all.</summary>
    public static void BeginMeasurement() => _ = Host.TscFrequency.Host;

    /// <summary>The state components that the model has: the valid bits of XCR0.</summary>
    public ulong XsaveMask { get; private set; }

    /// <summary>Bytes of the standard-format XSAVE area for all of <see cref="XsaveMask"/>.</summary>
    public int XsaveSize => StandardXsaveSize(XsaveMask);

    /// <summary>The MXCSR bits that may be set.</summary>
    public uint MxcsrMask => HostInstructions.MxcsrMask & (Has(CpuFeature.MisalignedSse) ? uint.MaxValue : 0xFFFF);

    /// <summary>Makes a model; throws <see cref="NotSupportedException"/> with a sentence for the user if the host cannot provide it.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="processors">Processors of the machine.</param>
    /// <param name="showHypervisor">Sets leaf 1's hypervisor bit and offers the leaves at 40000000H.</param>
    public static CpuModel Create(string name, int processors = 1, bool showHypervisor = true)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(processors, 1);
        if (!Names.Contains(name))
        {
            throw new ArgumentException($"There is no CPU model \"{name}\"; the models are {string.Join(", ", Names)}.", nameof(name));
        }

        var missing = Missing(name);
        if (missing.Count != 0)
        {
            throw new NotSupportedException($"This host's processor cannot provide the CPU model {name}: it lacks {string.Join(", ", missing)}.");
        }

        return new CpuModel(name, processors, showHypervisor);
    }

    /// <summary>The features that the named model must have and this host lacks.</summary>
    public static IReadOnlyList<CpuFeature> Missing(string name)
    {
        var missing = new List<CpuFeature>();
        Collect(CpuFeatureSets.Level2);
        if (name is "x86-64-v3" or "x86-64-v4")
        {
            Collect(CpuFeatureSets.Level3);
        }

        if (name == "x86-64-v4")
        {
            Collect(CpuFeatureSets.Level4);
        }

        return missing;

        void Collect(ReadOnlySpan<CpuFeature> features)
        {
            foreach (var feature in features)
            {
                if (!HostHas(feature))
                {
                    missing.Add(feature);
                }
            }
        }
    }

    /// <summary>Whether the guest's processor has the feature.</summary>
    public bool Has(CpuFeature feature) => (_features[(int)feature >> 5] >> ((int)feature & 31) & 1) != 0;

    /// <summary>Offset in the standard format, and size, of an XSAVE component of <see cref="XsaveMask"/> (2 and up).</summary>
    public (int Offset, int Size) XsaveComponent(int index)
        => index < _xsaveComponents.Length ? ((int)_xsaveComponents[index].Ebx, (int)_xsaveComponents[index].Eax) : default;

    /// <summary>Whether the compacted format aligns the component to 64 bytes (leaf 0DH, ECX bit 1).</summary>
    public bool XsaveComponentAligned(int index) => index < _xsaveComponents.Length && (_xsaveComponents[index].Ecx & 2) != 0;

    /// <summary>Size of a standard-format area that holds the components of <paramref name="mask"/>.</summary>
    public int StandardXsaveSize(ulong mask)
    {
        int size = XsaveExtendedOffset;
        for (int i = Avx; i < _xsaveComponents.Length; i++)
        {
            if ((mask >> i & 1) != 0)
            {
                size = Math.Max(size, (int)(_xsaveComponents[i].Ebx + _xsaveComponents[i].Eax));
            }
        }

        return size;
    }

    /// <summary>Size of a compacted area that holds the components of <paramref name="mask"/> (SDM vol. 1, 13.4.3).</summary>
    public int CompactedXsaveSize(ulong mask)
    {
        int size = XsaveExtendedOffset;
        for (int i = Avx; i < _xsaveComponents.Length; i++)
        {
            if ((mask >> i & 1) != 0)
            {
                size = XsaveComponentAligned(i) ? (size + 63) & ~63 : size;
                size += (int)_xsaveComponents[i].Eax;
            }
        }

        return size;
    }

    /// <summary>All features come before it.</summary>
    public const CpuFeature FeaturesEnd = (CpuFeature)(32 * (int)CpuidWord.Count);

    /// <summary>Whether the host's processor, and its operating system, have the feature.</summary>
    public static bool HostHas(CpuFeature feature)
    {
        const ulong avx512 = 7ul << FirstAvx512;
        return (HostCpu.Features[(int)feature >> 5] >> ((int)feature & 31) & 1) != 0
            && (!CpuFeatureSets.NeedAvx.Contains(feature) || (HostCpu.Xcr0 >> Avx & 1) != 0)
            && (!CpuFeatureSets.NeedAvx512.Contains(feature) || (HostCpu.Xcr0 & avx512) == avx512);
    }

    private void Set(CpuFeature feature, bool value)
    {
        if (value)
        {
            _features[(int)feature >> 5] |= 1u << ((int)feature & 31);
        }
    }

    private void Add(ReadOnlySpan<CpuFeature> features)
    {
        foreach (var feature in features)
        {
            Set(feature, true);
        }
    }

    private void Allow(ReadOnlySpan<CpuFeature> features)
    {
        foreach (var feature in features)
        {
            Set(feature, HostHas(feature));
        }
    }

    private void LayOutXsave()
    {
        XsaveMask = 1ul << X87 | 1ul << Sse;
        if (Has(CpuFeature.Avx))
        {
            XsaveMask |= 1ul << Avx;
        }

        if (Has(CpuFeature.Avx512F))
        {
            XsaveMask |= 7ul << FirstAvx512;
        }

        for (int i = Avx; i <= LastAvx512; i++)
        {
            if ((XsaveMask >> i & 1) != 0)
            {
                _xsaveComponents[i] = HostCpu.XsaveComponent(i);
            }
        }

        if (XsaveSize > MaxXsaveSize)
        {
            throw new NotSupportedException($"This host's extended processor state of {XsaveSize} bytes is larger than Vivarium knows.");
        }
    }
}
