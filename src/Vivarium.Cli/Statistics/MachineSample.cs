using System.Diagnostics;
using System.Text.Json.Serialization;
using Vivarium.Engine;

namespace Vivarium.Cli.Statistics;

/// <summary>A machine's counters at one moment, since its last reset. Times in seconds; absent: not measured.</summary>
internal sealed record MachineSample
{
    /// <summary>How many sites of a cause are told.</summary>
    private const int TopSites = 5;

    /// <summary>The moment, by a clock of the host that only goes forward, in seconds.</summary>
    public required double Clock { get; init; }

    public required string Engine { get; init; }

    /// <summary>How often the guest has reset the machine.</summary>
    public required int Resets { get; init; }

    public required CodeCacheSample CodeCache { get; init; }

    /// <summary>Accesses to ports at which there is no device.</summary>
    public required long UnclaimedPortAccesses { get; init; }

    /// <summary>Accesses to physical addresses at which there is neither memory nor a device.</summary>
    public required long UnclaimedMmioAccesses { get; init; }

    /// <summary>All processors together.</summary>
    public required ProcessorSample Total { get; init; }

    /// <summary>Each processor, by number.</summary>
    public required IReadOnlyList<ProcessorSample> Processors { get; init; }

    public static MachineSample Take(MachineStatistics statistics) => new()
    {
        Clock = (double)Stopwatch.GetTimestamp() / Stopwatch.Frequency,
        Engine = statistics.Engine,
        Resets = statistics.Resets,
        CodeCache = new(statistics.CodeCache.Capacity, statistics.CodeCache.Used, statistics.CodeCache.Blocks, statistics.CodeCache.Evictions),
        UnclaimedPortAccesses = statistics.UnclaimedPortAccesses,
        UnclaimedMmioAccesses = statistics.UnclaimedMmioAccesses,
        Total = ProcessorSample.Take(statistics.Vcpus, TopSites),
        Processors = [.. statistics.Vcpus.Select(vcpu => ProcessorSample.Take([vcpu], TopSites))],
    };
}

/// <summary>The memory for translations.</summary>
/// <param name="Capacity">Bytes at most.</param>
/// <param name="Used">Bytes in use.</param>
/// <param name="Blocks">Translations that are still valid.</param>
/// <param name="Evictions">How often room was made by throwing translations away.</param>
internal sealed record CodeCacheSample(long Capacity, long Used, int Blocks, int Evictions);

/// <summary>The counters of one processor, or of several together.</summary>
internal sealed record ProcessorSample
{
    /// <summary>Null if never measured.</summary>
    public TimeSample? Time { get; init; }

    /// <summary>By the names of <see cref="ExitCause"/>, in camel case; without those that never happened.</summary>
    public required IReadOnlyDictionary<string, ExitSample> Exits { get; init; }

    /// <summary>Misses of the TLB that translated code asks.</summary>
    public required long TlbMisses { get; init; }

    /// <summary>Misses of the second-level TLB, which read the guest's page tables.</summary>
    public required long PageWalks { get; init; }

    public required long TlbFlushes { get; init; }
    public required long TlbPageFlushes { get; init; }
    public required long BlocksTranslated { get; init; }
    public required long BlocksCopied { get; init; }
    public required long InstructionsTranslated { get; init; }
    public required long GuestBytesTranslated { get; init; }
    public required long BlocksInvalidated { get; init; }
    public required long Links { get; init; }
    public required long DispatcherEntries { get; init; }
    public required long PrivilegedInstructions { get; init; }
    public required long PortAccesses { get; init; }
    public required long MmioAccesses { get; init; }
    public required long PageFaults { get; init; }
    public required long Exceptions { get; init; }
    public required long Interrupts { get; init; }
    public required long Halts { get; init; }

    public static ProcessorSample Take(IReadOnlyList<VcpuStatistics> vcpus, int topSites)
    {
        List<VcpuTimes> times = [.. vcpus.Select(vcpu => vcpu.Times).OfType<VcpuTimes>()];
        double Seconds(VcpuActivity activity) => times.Sum(vcpu => vcpu.Of(activity).TotalSeconds);
        return new()
        {
            Time = times.Count == 0 ? null : new TimeSample(Seconds(VcpuActivity.Guest), Seconds(VcpuActivity.Monitor), Seconds(VcpuActivity.Devices), Seconds(VcpuActivity.Idle)),
            Exits = CauseNames.All.Where(row => vcpus.Any(vcpu => vcpu.Exits(row.Cause) != 0))
                .ToDictionary(row => CauseNames.Json(row.Cause), row => ExitSample.Take(vcpus, row.Cause, topSites)),
            TlbMisses = vcpus.Sum(vcpu => vcpu.TlbMisses),
            PageWalks = vcpus.Sum(vcpu => vcpu.PageWalks),
            TlbFlushes = vcpus.Sum(vcpu => vcpu.TlbFlushes),
            TlbPageFlushes = vcpus.Sum(vcpu => vcpu.TlbPageFlushes),
            BlocksTranslated = vcpus.Sum(vcpu => vcpu.BlocksTranslated),
            BlocksCopied = vcpus.Sum(vcpu => vcpu.BlocksCopied),
            InstructionsTranslated = vcpus.Sum(vcpu => vcpu.InstructionsTranslated),
            GuestBytesTranslated = vcpus.Sum(vcpu => vcpu.GuestBytesTranslated),
            BlocksInvalidated = vcpus.Sum(vcpu => vcpu.BlocksInvalidated),
            Links = vcpus.Sum(vcpu => vcpu.Links),
            DispatcherEntries = vcpus.Sum(vcpu => vcpu.DispatcherEntries),
            PrivilegedInstructions = vcpus.Sum(vcpu => vcpu.PrivilegedInstructions),
            PortAccesses = vcpus.Sum(vcpu => vcpu.PortAccesses),
            MmioAccesses = vcpus.Sum(vcpu => vcpu.MmioAccesses),
            PageFaults = vcpus.Sum(vcpu => vcpu.PageFaults),
            Exceptions = vcpus.Sum(vcpu => vcpu.Exceptions),
            Interrupts = vcpus.Sum(vcpu => vcpu.Interrupts),
            Halts = vcpus.Sum(vcpu => vcpu.Halts),
        };
    }
}

/// <summary>Seconds that went to each activity.</summary>
internal sealed record TimeSample(double Guest, double Monitor, double Devices, double Idle);

/// <summary>Exits for one reason.</summary>
/// <param name="Count">How many.</param>
/// <param name="Seconds">How long the guest has waited because of them; null if never measured.</param>
/// <param name="Located">Of how many it is known where they happened: of those while the machine measured.</param>
/// <param name="Sites">Where most of these happened.</param>
internal sealed record ExitSample(long Count, double? Seconds, long Located, IReadOnlyList<SiteSample> Sites)
{
    public static ExitSample Take(IReadOnlyList<VcpuStatistics> vcpus, ExitCause cause, int topSites)
    {
        List<VcpuTimes> times = [.. vcpus.Select(vcpu => vcpu.Times).OfType<VcpuTimes>()];
        List<ExitSites> sites = [.. vcpus.Select(vcpu => vcpu.Sites).OfType<ExitSites>()];
        return new ExitSample(
            vcpus.Sum(vcpu => vcpu.Exits(cause)),
            times.Count == 0 ? null : times.Sum(vcpu => vcpu.Of(cause).TotalSeconds),
            sites.Sum(vcpu => vcpu.Total(cause)),
            [.. ExitSites.Top(sites, cause, topSites).Select(site => new SiteSample($"{site.Rip:x}", site.Count))]);
    }
}

/// <summary>A place in the guest's code.</summary>
/// <param name="Rip">Its address, in hexadecimal digits: JSON's numbers do not hold it.</param>
/// <param name="Count">Exits counted there, at least.</param>
internal sealed record SiteSample(string Rip, long Count);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(MachineSample))]
internal sealed partial class MachineSampleJson : JsonSerializerContext;
