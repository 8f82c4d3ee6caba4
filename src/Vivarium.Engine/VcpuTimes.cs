using Vivarium.Engine.Host;

namespace Vivarium.Engine;

/// <summary>
/// Where a vCPU's time goes, by the host's time-stamp counter. Kept only when asked for, because the counter is read twice
/// at each crossing. One thread writes; read it from any, approximately.
/// </summary>
public sealed unsafe class VcpuTimes
{
    private readonly ulong[] _ticks = new ulong[4];
    private VcpuActivity _present;
    private ulong _since;

    /// <summary>Ends what went on until now and begins something else.</summary>
    public void Enter(VcpuActivity next)
    {
        ulong now = HostInstructions.ReadTsc();
        if (_since != 0)
        {
            _ticks[(int)_present] += now - _since;
        }

        _since = now;
        _present = next;
    }

    /// <summary>The time spent on it so far, without what goes on right now.</summary>
    public TimeSpan Of(VcpuActivity activity) => TimeSpan.FromSeconds((double)Volatile.Read(ref _ticks[(int)activity]) / CpuModel.HostTscFrequency);
}
