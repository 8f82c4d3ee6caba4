using Vivarium.Devices;
using Vivarium.Engine;
using Vivarium.Engine.Tracing;

namespace Vivarium.Guests.Tests;

/// <summary>A processor whose guest is a delegate: called for each interrupt it takes, halted otherwise.</summary>
internal sealed class FakeVcpu(int index, LocalApic apic, Action<int> handler) : IVcpu
{
    private int _kicked;
    private int _requested;
    private int _nmis;
    private CpuState _state = new();

    public int Index => index;

    /// <summary>RIP at each entry of a guest that has been started or reset since.</summary>
    public List<ulong> Starts { get; } = [];

    public ulong Tsc => 0;

    public ulong TscOffset { get; set; }

    public VcpuStatistics Statistics { get; } = new();

    public void Measure(bool on)
    {
    }

    public void Trace(TraceBuffer? buffer)
    {
    }

    public bool HasPendingEvent => Volatile.Read(ref _requested) != 0 || Volatile.Read(ref _nmis) != 0;

    public ExitReason NextExit { get; set; } = ExitReason.Halt;

    public void Run(out VmExit exit)
    {
        exit = new VmExit { Reason = NextExit };
        if (_state.Halted)
        {
            _state.Halted = false;
            Starts.Add(_state.Segments[1].Base + _state.Rip);
        }

        while (true)
        {
            if (Interlocked.Exchange(ref _kicked, 0) != 0)
            {
                exit.Reason = ExitReason.Cancelled;
                return;
            }

            if (Interlocked.Exchange(ref _requested, 0) == 0)
            {
                return;
            }

            while (apic.AcknowledgeInterrupt() is >= 0 and var vector)
            {
                apic.WriteMmio(0xB0, 4, 0);
                handler(vector);
            }
        }
    }

    public void Kick() => Volatile.Write(ref _kicked, 1);

    public void RequestInterrupt() => Volatile.Write(ref _requested, 1);

    public void RequestNmi() => Volatile.Write(ref _nmis, 1);

    public void RequestUnhalt()
    {
    }

    public void RequestTlbFlush()
    {
    }

    public void SetGuestDebug(GuestDebug? debug)
    {
    }

    public bool TryTranslate(ulong linear, out ulong gpa)
    {
        gpa = linear;
        return true;
    }

    public void GetState(CpuState state) => Copy(_state, state);

    /// <summary>A processor that is set anew is told by <see cref="Starts"/> when it runs next.</summary>
    public void SetState(CpuState state)
    {
        var copy = new CpuState();
        Copy(state, copy);
        copy.Halted = true;
        _state = copy;
    }

    public void Dispose()
    {
    }

    private static void Copy(CpuState from, CpuState to)
    {
        to.Rip = from.Rip;
        from.Segments.CopyTo(to.Segments, 0);
        from.Gpr.CopyTo(to.Gpr, 0);
    }
}
