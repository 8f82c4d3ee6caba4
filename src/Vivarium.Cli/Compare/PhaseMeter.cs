using System.Diagnostics;
using Vivarium.Cli.Statistics;
using Vivarium.Engine;

namespace Vivarium.Cli.Compare;

/// <summary>Cuts a machine's counters into phases.</summary>
internal sealed class PhaseMeter(VirtualMachine machine)
{
    private static readonly ExitCause[] s_causes = Enum.GetValues<ExitCause>();

    private readonly long[] _exits = new long[s_causes.Length];
    private readonly TimeSpan[] _times = new TimeSpan[Enum.GetValues<VcpuActivity>().Length];
    private long _start = Stopwatch.GetTimestamp();

    /// <summary>The phase that ends here and began where the last one ended; the first began with this object.</summary>
    public PhaseFigures Cut()
    {
        long now = Stopwatch.GetTimestamp();
        MachineStatistics statistics = machine.Statistics;
        double Time(VcpuActivity activity)
        {
            TimeSpan before = _times[(int)activity];
            _times[(int)activity] = statistics.Time(activity);
            return (_times[(int)activity] - before).TotalSeconds;
        }

        var exits = new Dictionary<string, long>();
        foreach (ExitCause cause in s_causes)
        {
            long before = _exits[(int)cause];
            _exits[(int)cause] = statistics.Exits(cause);
            exits[CauseNames.Json(cause)] = _exits[(int)cause] - before;
        }

        var phase = new PhaseFigures
        {
            Seconds = Stopwatch.GetElapsedTime(_start, now).TotalSeconds,
            GuestSeconds = Time(VcpuActivity.Guest),
            MonitorSeconds = Time(VcpuActivity.Monitor),
            DeviceSeconds = Time(VcpuActivity.Devices),
            IdleSeconds = Time(VcpuActivity.Idle),
            Interrupts = exits[CauseNames.Json(ExitCause.Interrupt)],
            Exits = exits,
        };
        _start = now;
        return phase;
    }
}
