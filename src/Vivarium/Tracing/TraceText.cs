using System.Globalization;
using System.Text;
using Vivarium.Engine;
using Vivarium.Engine.Tracing;

namespace Vivarium.Tracing;

/// <summary>A trace's lines: seconds of guest time, vCPU, RIP, what.</summary>
internal static class TraceText
{
    private const double NanosecondsPerSecond = 1e9;

    private static readonly string[] s_causes = [.. Enum.GetNames<ExitCause>().Select(name => char.ToLowerInvariant(name[0]) + name[1..])];

    /// <param name="text">Gets one line.</param>
    /// <param name="record">What happened.</param>
    /// <param name="vcpu">On which processor.</param>
    /// <param name="origin">The host's time-stamp counter when the guest's time began.</param>
    public static void Append(StringBuilder text, in TraceRecord record, int vcpu, ulong origin)
    {
        ulong nanoseconds = (ulong)((double)(record.Tsc - origin) / CpuModel.HostTscFrequency * NanosecondsPerSecond);
        CultureInfo culture = CultureInfo.InvariantCulture;
        text.Append(culture, $"{nanoseconds / 1_000_000_000}.{nanoseconds % 1_000_000_000:000000000} {vcpu} {record.Rip:x16} ");
        _ = record.Event switch
        {
            TraceEvent.Exit when (ExitCause)record.Detail == ExitCause.TlbMiss => text.Append(culture, $"exit tlbMiss {record.Address:x}"),
            TraceEvent.Exit => text.Append("exit ").Append(s_causes[record.Detail]),
            TraceEvent.Interrupt => text.Append(culture, $"irq {record.Detail:x2}"),
            TraceEvent.MmioRead => text.Append(culture, $"mmio read {record.Address:x} size {record.Detail} value {record.Value:x}"),
            TraceEvent.MmioWrite => text.Append(culture, $"mmio write {record.Address:x} size {record.Detail} value {record.Value:x}"),
            TraceEvent.PortRead => text.Append(culture, $"pio read {record.Address:x} size {record.Detail} value {record.Value:x}"),
            TraceEvent.PortWrite => text.Append(culture, $"pio write {record.Address:x} size {record.Detail} value {record.Value:x}"),
            TraceEvent.MsrRead => text.Append(culture, $"msr read {record.Address:x} value {record.Value:x}"),
            TraceEvent.MsrWrite => text.Append(culture, $"msr write {record.Address:x} value {record.Value:x}"),
            TraceEvent.MsrReadRefused => text.Append(culture, $"msr read {record.Address:x} refused"),
            _ => text.Append(culture, $"msr write {record.Address:x} value {record.Value:x} refused"),
        };
        text.Append('\n');
    }
}
