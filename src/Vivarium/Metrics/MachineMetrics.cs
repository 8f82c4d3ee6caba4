using System.Diagnostics.Metrics;
using Vivarium.Engine;

namespace Vivarium.Metrics;

/// <summary>
/// The meter <c>Vivarium</c>: what this process's machines do, for whoever listens through System.Diagnostics.Metrics.
/// Nothing is counted for it that is not counted anyway. docs/observing.md lists the instruments.
/// </summary>
internal static class MachineMetrics
{
    private static readonly Lock s_lock = new();
    private static readonly Dictionary<VirtualMachine, string> s_machines = [];
    private static readonly string[] s_causes = [.. Enum.GetNames<ExitCause>().Select(name => char.ToLowerInvariant(name[0]) + name[1..])];
    private static readonly string[] s_activities = [.. Enum.GetNames<VcpuActivity>().Select(name => name.ToLowerInvariant())];

    private static readonly Meter s_meter = Build();

    /// <summary>Lets listeners see a machine until <see cref="Remove"/>.</summary>
    public static void Add(VirtualMachine machine, string name)
    {
        _ = s_meter;
        lock (s_lock)
        {
            s_machines[machine] = name;
        }
    }

    public static void Remove(VirtualMachine machine)
    {
        lock (s_lock)
        {
            s_machines.Remove(machine);
        }
    }

    private static Meter Build()
    {
        var meter = new Meter("Vivarium");
        meter.CreateObservableGauge("vivarium.vcpu.count", () => PerMachine(machine => machine.Vcpus.Count), "{vcpu}", "Processors of the machine");
        meter.CreateObservableCounter("vivarium.exits", Exits, "{exit}", "How often a vCPU had to wait for the monitor, by cause");
        meter.CreateObservableCounter("vivarium.exit.time", ExitTimes, "s", "How long a vCPU has waited for the monitor, by cause; only while measured");
        meter.CreateObservableCounter("vivarium.time", Times, "s", "What a vCPU's time went to, by activity; only while measured");
        meter.CreateObservableCounter("vivarium.tlb.misses", TlbMisses, "{miss}", "Misses of the TLBs, by level");
        meter.CreateObservableCounter("vivarium.tlb.flushes", () => PerVcpu(vcpu => vcpu.TlbFlushes), "{flush}", "Flushes of a TLB");
        meter.CreateObservableCounter("vivarium.blocks.translated", () => PerVcpu(vcpu => vcpu.BlocksTranslated), "{block}", "Basic blocks of guest code translated");
        meter.CreateObservableCounter("vivarium.blocks.invalidated", () => PerVcpu(vcpu => vcpu.BlocksInvalidated), "{block}", "Translations dropped because the guest wrote to their code");
        meter.CreateObservableCounter("vivarium.bytes.translated", () => PerVcpu(vcpu => vcpu.GuestBytesTranslated), "By", "Bytes of guest code translated");
        meter.CreateObservableGauge("vivarium.code_cache.used", () => PerMachine(machine => machine.CodeCache.Used), "By", "Translations held");
        meter.CreateObservableGauge("vivarium.code_cache.capacity", () => PerMachine(machine => machine.CodeCache.Capacity), "By", "Translations that could be held");
        meter.CreateObservableCounter("vivarium.code_cache.evictions", () => PerMachine(machine => (long)machine.CodeCache.Evictions), "{eviction}", "How often room was made by throwing translations away");
        return meter;
    }

    private static IEnumerable<Measurement<long>> Exits()
    {
        foreach ((VcpuStatistics vcpu, KeyValuePair<string, object?>[] tags) in Vcpus())
        {
            for (int cause = 0; cause < s_causes.Length; cause++)
            {
                yield return new Measurement<long>(vcpu.Exits((ExitCause)cause), [.. tags, new("cause", s_causes[cause])]);
            }
        }
    }

    private static IEnumerable<Measurement<double>> ExitTimes()
    {
        foreach ((VcpuStatistics vcpu, KeyValuePair<string, object?>[] tags) in Vcpus())
        {
            for (int cause = 0; vcpu.Times is { } times && cause < s_causes.Length; cause++)
            {
                yield return new Measurement<double>(times.Of((ExitCause)cause).TotalSeconds, [.. tags, new("cause", s_causes[cause])]);
            }
        }
    }

    private static IEnumerable<Measurement<double>> Times()
    {
        foreach ((VcpuStatistics vcpu, KeyValuePair<string, object?>[] tags) in Vcpus())
        {
            for (int activity = 0; vcpu.Times is { } times && activity < s_activities.Length; activity++)
            {
                yield return new Measurement<double>(times.Of((VcpuActivity)activity).TotalSeconds, [.. tags, new("activity", s_activities[activity])]);
            }
        }
    }

    private static IEnumerable<Measurement<long>> TlbMisses()
    {
        foreach ((VcpuStatistics vcpu, KeyValuePair<string, object?>[] tags) in Vcpus())
        {
            yield return new Measurement<long>(vcpu.TlbMisses, [.. tags, new("level", 1)]);
            yield return new Measurement<long>(vcpu.PageWalks, [.. tags, new("level", 2)]);
        }
    }

    private static IEnumerable<Measurement<long>> PerVcpu(Func<VcpuStatistics, long> count) =>
        Vcpus().Select(vcpu => new Measurement<long>(count(vcpu.Statistics), vcpu.Tags));

    private static IEnumerable<Measurement<long>> PerMachine(Func<MachineStatistics, long> figure) =>
        Machines().Select(machine => new Measurement<long>(figure(machine.Key.Statistics), new KeyValuePair<string, object?>("machine", machine.Value)));

    private static IEnumerable<(VcpuStatistics Statistics, KeyValuePair<string, object?>[] Tags)> Vcpus() =>
        Machines().SelectMany(machine => machine.Key.Statistics.Vcpus.Select(
            (vcpu, index) => (vcpu, new KeyValuePair<string, object?>[] { new("machine", machine.Value), new("vcpu", index) })));

    private static KeyValuePair<VirtualMachine, string>[] Machines()
    {
        lock (s_lock)
        {
            return [.. s_machines];
        }
    }
}
