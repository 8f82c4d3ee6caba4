using System.Runtime.CompilerServices;
using Vivarium.Engine.Host;

namespace Vivarium.Engine;

/// <summary>
/// Where a vCPU's time goes, by the host's time-stamp counter. Kept only when asked for, because the counter is read twice
/// at each crossing. One thread writes; read it from any.
/// </summary>
/// <remarks>
/// An exit's time runs from the moment the guest is left until it goes on, or until the next exit is counted: what comes
/// before the first count of a crossing is its own.
/// </remarks>
public sealed unsafe class VcpuTimes
{
    private const int NoCause = -1;

    private ActivityTicks _activities;
    private CauseTicks _causes;
    private VcpuActivity _present;
    private ulong _since;
    private bool _paused;

    /// <summary>Odd while the writer is at it.</summary>
    private int _version;

    private int _cause = NoCause;

    /// <summary>How long the guest has waited since the last time that was booked under a cause.</summary>
    private ulong _waited;

    [InlineArray((int)VcpuActivity.Idle + 1)]
    private struct ActivityTicks
    {
        private ulong _first;
    }

    [InlineArray((int)ExitCause.Kick + 1)]
    private struct CauseTicks
    {
        private ulong _first;
    }

    /// <summary>Begins to measure, with what goes on now. Not while the vCPU's thread sees the object.</summary>
    public void Resume(VcpuActivity present)
    {
        _present = present;
        _since = HostInstructions.ReadTsc();
        _paused = false;
    }

    /// <summary>Ends to measure: what goes on is booked. When the vCPU's thread sees the object no more, but for a last call perhaps.</summary>
    public void Pause()
    {
        BeginWrite();
        Volatile.Write(ref _paused, true);
        Book();
        EndWrite();
    }

    /// <summary>Ends what went on until now and begins something else.</summary>
    public void Enter(VcpuActivity next)
    {
        BeginWrite();
        Book();
        _present = next;
        if (next is VcpuActivity.Guest or VcpuActivity.Idle && _cause != NoCause)
        {
            BookCause();
            _cause = NoCause;
        }

        EndWrite();
    }

    /// <summary>Says what the guest waits for from now on.</summary>
    public void Begin(ExitCause cause)
    {
        BeginWrite();
        Book();
        if (_cause != NoCause)
        {
            BookCause();
        }

        _cause = (int)cause;
        EndWrite();
    }

    /// <summary>The time spent on it so far, with what goes on right now.</summary>
    public TimeSpan Of(VcpuActivity activity)
    {
        var spin = new SpinWait();
        while (true)
        {
            int version = Volatile.Read(ref _version);
            ulong ticks = Volatile.Read(ref _activities[(int)activity]);
            ulong since = Volatile.Read(ref _since);
            if (since != 0 && _present == activity)
            {
                ticks += HostInstructions.ReadTsc() - since;
            }

            if ((version & 1) == 0 && Volatile.Read(ref _version) == version)
            {
                return Span(ticks);
            }

            spin.SpinOnce(sleep1Threshold: -1);
        }
    }

    /// <summary>The time that the guest has waited for that reason.</summary>
    public TimeSpan Of(ExitCause cause) => Span(Volatile.Read(ref _causes[(int)cause]));

    private static TimeSpan Span(ulong ticks) => TimeSpan.FromSeconds((double)ticks / CpuModel.HostTscFrequency);

    private void BeginWrite() => Volatile.Write(ref _version, _version | 1);

    private void EndWrite() => Volatile.Write(ref _version, (_version | 1) + 1);

    private void Book()
    {
        ulong now = HostInstructions.ReadTsc();
        if (_since != 0)
        {
            ulong elapsed = now - _since;
            _activities[(int)_present] += elapsed;
            if (_present is VcpuActivity.Monitor or VcpuActivity.Devices)
            {
                _waited += elapsed;
            }
        }

        _since = _paused ? 0 : now;
    }

    private void BookCause()
    {
        _causes[_cause] += _waited;
        _waited = 0;
    }
}
