using System.Runtime.InteropServices;
using System.Text;
using Vivarium.Engine.Host;

namespace Vivarium.Engine.Tests;

public sealed class CpuModelTests
{
    private const uint ExtendedBase = 0x8000_0000;
    private const uint HypervisorBase = 0x4000_0000;
    private const uint HypervisorBit = 1u << 31;

    private static readonly CpuidContext Plain = new(ApicId: 0, OsXsave: false, Xcr0: 1);

    /// <summary>The models that this host can provide.</summary>
    public static TheoryData<string> Models => [.. CpuModel.Names.Where(name => CpuModel.Missing(name).Count == 0)];

    [Fact]
    public void An_unknown_name_is_answered_with_the_names_that_exist()
    {
        var error = Assert.Throws<ArgumentException>(() => CpuModel.Create("pentium"));
        Assert.All(CpuModel.Names, name => Assert.Contains(name, error.Message));
    }

    [Fact]
    public void A_model_that_the_host_cannot_provide_is_refused_with_what_is_missing()
    {
        foreach (string name in CpuModel.Names.Where(name => CpuModel.Missing(name).Count != 0))
        {
            var error = Assert.Throws<NotSupportedException>(() => CpuModel.Create(name));
            Assert.All(CpuModel.Missing(name), feature => Assert.Contains(feature.ToString(), error.Message));
        }
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void The_XSAVE_area_is_as_large_as_its_components_need(string name)
    {
        var model = CpuModel.Create(name);
        if (!model.Has(CpuFeature.Xsave))
        {
            Assert.Equal(default, model.Cpuid(0xD, 0, Plain));
            return;
        }

        var main = model.Cpuid(0xD, 0, Plain);
        Assert.Equal(model.XsaveMask, main.Eax | ((ulong)main.Edx << 32));
        Assert.Equal((uint)CpuModel.XsaveExtendedOffset, main.Ebx);
        uint end = CpuModel.XsaveExtendedOffset;
        for (uint i = 2; i < 63; i++)
        {
            var component = model.Cpuid(0xD, i, Plain);
            Assert.Equal((model.XsaveMask >> (int)i & 1) != 0, component.Eax != 0);
            if (component.Eax != 0)
            {
                Assert.True(component.Ebx >= end, "components overlap");
                end = component.Ebx + component.Eax;
            }
        }

        Assert.Equal(end, main.Ecx);
        Assert.Equal(end, model.Cpuid(0xD, 0, Plain with { Xcr0 = model.XsaveMask }).Ebx);
        Assert.True(end <= CpuModel.MaxXsaveSize);
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void Vector_features_come_only_with_their_state(string name)
    {
        var model = CpuModel.Create(name);
        foreach (var feature in CpuFeatureSets.NeedAvx)
        {
            Assert.True(!model.Has(feature) || (model.XsaveMask & 4) != 0, feature.ToString());
        }

        foreach (var feature in CpuFeatureSets.NeedAvx512)
        {
            Assert.True(!model.Has(feature) || (model.XsaveMask & 0xE0) == 0xE0, feature.ToString());
        }
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void What_the_monitor_does_not_do_is_not_offered(string name)
    {
        var model = CpuModel.Create(name);
        const uint monitor = 1 << 3, vmx = 1 << 5, smx = 1 << 6;
        Assert.Equal(0u, model.Cpuid(1, 0, Plain).Ecx & (monitor | vmx | smx));
        const uint hle = 1 << 4, rtm = 1 << 11, mpx = 1 << 14;
        const uint pku = 1 << 3, cetSs = 1 << 7, la57 = 1 << 16;
        var leaf7 = model.Cpuid(7, 0, Plain);
        Assert.Equal(0u, leaf7.Ebx & (hle | rtm | mpx));
        Assert.Equal(0u, leaf7.Ecx & (pku | cetSs | la57));
        const uint svm = 1 << 2;
        Assert.Equal(0u, model.Cpuid(ExtendedBase + 1, 0, Plain).Ecx & svm);
        Assert.Equal(default, model.Cpuid(5, 0, Plain));
        Assert.Equal(default, model.Cpuid(0x1234_5678, 0, Plain));
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void Leaves_tell_the_processor_s_own_state(string name)
    {
        var model = CpuModel.Create(name, processors: 4);
        const uint osXsave = 1 << 27;
        var context = new CpuidContext(ApicId: 3, OsXsave: true, Xcr0: 3);
        Assert.Equal(0u, model.Cpuid(1, 0, Plain).Ecx & osXsave);
        Assert.Equal(osXsave, model.Cpuid(1, 0, context).Ecx & osXsave);
        Assert.Equal(3u, model.Cpuid(1, 0, context).Ebx >> 24);
        Assert.Equal(3u, model.Cpuid(0xB, 0, context).Edx);
        Assert.Equal((2u, 4u), (model.Cpuid(0xB, 1, context).Eax, model.Cpuid(0xB, 1, context).Ebx));
    }

    /// <summary>What Linux and others compute packages, cores and threads from: one package of single-threaded cores.</summary>
    [Theory]
    [MemberData(nameof(Models))]
    public void All_leaves_agree_on_one_package_of_cores(string name)
    {
        foreach (int processors in (int[])[1, 2, 3, 4, 6, 16, 33, 64])
        {
            var model = CpuModel.Create(name, processors);
            const uint hyperThreading = 1 << 28;
            Assert.Equal(processors > 1, (model.Cpuid(1, 0, Plain).Edx & hyperThreading) != 0);
            HashSet<uint> cores = [];
            for (uint id = 0; id < processors; id++)
            {
                var context = new CpuidContext(id, OsXsave: false, Xcr0: 1);
                Assert.Equal(id, model.Cpuid(1, 0, context).Ebx >> 24);
                Assert.Equal((uint)processors, (model.Cpuid(1, 0, context).Ebx >> 16) & 0xFF);
                var threads = model.Cpuid(0xB, 0, context);
                var package = model.Cpuid(0xB, 1, context);
                Assert.Equal((0u, 1u, 0x100u, id), (threads.Eax, threads.Ebx, threads.Ecx, threads.Edx));
                Assert.Equal(((uint)processors, 0x201u, id), (package.Ebx, package.Ecx, package.Edx));
                Assert.True(processors <= 1 << (int)package.Eax);
                Assert.Equal(0u, id >> (int)package.Eax);
                Assert.Equal((0u, 0u), (model.Cpuid(0xB, 2, context).Ebx, model.Cpuid(0xB, 2, context).Ecx & 0xFF00));
                if (model.IsIntel)
                {
                    Assert.Equal((uint)processors - 1, model.Cpuid(4, 0, context).Eax >> 26);
                }
                else
                {
                    var topology = model.Cpuid(ExtendedBase + 0x1E, 0, context);
                    Assert.Equal((id, 0u), (topology.Eax, topology.Ebx >> 8));
                    cores.Add(topology.Ebx);
                    uint sizes = model.Cpuid(ExtendedBase + 8, 0, context).Ecx;
                    Assert.Equal(((uint)processors - 1, package.Eax), (sizes & 0xFF, sizes >> 12 & 0xF));

                    // The last-level cache is everybody's, the first is each core's own.
                    Assert.Equal(0u, model.Cpuid(ExtendedBase + 0x1D, 0, context).Eax >> 14 & 0xFFF);
                    Assert.True(model.Cpuid(ExtendedBase + 0x1D, 3, context).Eax >> 14 >= processors - 1);
                }
            }

            Assert.True(model.IsIntel || cores.Count == processors);
        }
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void The_brand_names_the_model(string name)
    {
        var model = CpuModel.Create(name);
        var text = new StringBuilder();
        for (uint i = 2; i <= 4; i++)
        {
            var part = model.Cpuid(ExtendedBase + i, 0, Plain);
            text.Append(Encoding.ASCII.GetString(MemoryMarshal.AsBytes<uint>([part.Eax, part.Ebx, part.Ecx, part.Edx])));
        }

        Assert.Equal($"Vivarium virtual CPU ({name})", text.ToString().TrimEnd('\0'));
    }

    [Fact]
    public void A_hidden_hypervisor_leaves_no_trace()
    {
        var shown = CpuModel.Create("x86-64-v2");
        Assert.NotEqual(0u, shown.Cpuid(1, 0, Plain).Ecx & HypervisorBit);
        Assert.Equal(shown.TscFrequency / 1000, shown.Cpuid(HypervisorBase + 0x10, 0, Plain).Eax);

        var hidden = CpuModel.Create("x86-64-v2", showHypervisor: false);
        Assert.Equal(0u, hidden.Cpuid(1, 0, Plain).Ecx & HypervisorBit);
        for (uint leaf = 0; leaf < 0x100; leaf++)
        {
            Assert.Equal(default, hidden.Cpuid(HypervisorBase + leaf, 0, Plain));
        }

        Assert.Contains("Vivarium", BrandOf(shown));
        Assert.DoesNotContain("Viv", BrandOf(hidden), StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void A_hypervisor_shows_the_interface_of_kvm()
    {
        var model = CpuModel.Create("x86-64-v2", processors: 4);
        CpuidResult signature = model.Cpuid(HypervisorBase, 0, Plain);
        uint[] words = [signature.Ebx, signature.Ecx, signature.Edx];
        Assert.Equal("KVMKVMKVM\0\0\0", Encoding.ASCII.GetString(MemoryMarshal.AsBytes<uint>(words)));
        Assert.Equal(HypervisorBase + 0x10, signature.Eax);

        // Not asynchronous page faults (bits 4, 10 and 14) nor encrypted memory (16); no hints.
        Assert.Equal(new CpuidResult(0x0102_3AEB, 0, 0, 0), model.Cpuid(HypervisorBase + 1, 0, Plain));
        Assert.Equal(CpuModel.ApicTimerFrequency / 1000, model.Cpuid(HypervisorBase + 0x10, 0, Plain).Ebx);
        Assert.Equal(default, model.Cpuid(HypervisorBase + 2, 0, Plain));
        Assert.Equal(default, model.Cpuid(HypervisorBase + 0x11, 0, Plain));
    }

    private static string BrandOf(CpuModel model)
    {
        uint[] words = [.. Enumerable.Range(2, 3).Select(leaf => model.Cpuid(ExtendedBase + (uint)leaf, 0, Plain)).SelectMany(part => new[] { part.Eax, part.Ebx, part.Ecx, part.Edx })];
        return Encoding.ASCII.GetString(MemoryMarshal.AsBytes<uint>(words)).TrimEnd('\0');
    }

    [Theory]
    [InlineData(2_445_424_000ul)]
    [InlineData(3_000_000_000ul)]
    [InlineData(2_899_999_000ul)]
    [InlineData(1_000_000_000ul)]
    public void The_crystal_ratio_is_exact_to_a_part_per_million_within_32_bits(ulong frequency)
    {
        const ulong crystalKilohertz = CpuModel.ApicTimerFrequency / 1000, limit = uint.MaxValue / crystalKilohertz;
        var (numerator, denominator) = CpuModel.BestRatio(frequency, CpuModel.ApicTimerFrequency, limit);
        Assert.True(crystalKilohertz * numerator <= uint.MaxValue);
        double told = (double)CpuModel.ApicTimerFrequency * numerator / denominator;
        Assert.InRange(told / frequency, 1 - 1e-6, 1 + 1e-6);
    }

    [Fact]
    public void The_TSC_frequency_is_plausible()
        => Assert.InRange(CpuModel.Create("x86-64-v2").TscFrequency, 500_000_000ul, 10_000_000_000ul);

    [Fact]
    public void The_TSC_frequency_is_what_it_is_told_or_what_it_measures()
    {
        Assert.Equal(2_445_428_000ul, new TscFrequency(2_445_428_000).Hertz);
        var late = new TscFrequency(0);
        Assert.InRange((double)new TscFrequency(0).Hertz / CpuModel.HostTscFrequency, 0.999, 1.001);

        // It began before the others.
        Assert.InRange((double)late.Hertz / CpuModel.HostTscFrequency, 0.999, 1.001);
    }
}
