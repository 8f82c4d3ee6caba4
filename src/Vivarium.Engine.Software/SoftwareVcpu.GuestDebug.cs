using System.Collections.Immutable;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

// What a debugger outside of the guest asks for. Breakpoints are where translations leave for the run loop (SharedCode.AddStop),
// watched pages stay out of the first-level TLBs, and a single step is BlockMode.Stepping.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>Null: no debugger. Other vCPUs look at its breakpoints.</summary>
    private volatile GuestDebug? _debug;

    private ImmutableArray<Watchpoint> _watchpoints = [];
    private Watchpoint _metWatchpoint;
    private ulong _watchedAddress;

    /// <summary>The present instruction has met a watchpoint: a repeated one ends with this iteration.</summary>
    public bool MetWatchpoint { get; private set; }

    /// <summary>With a segment base, a RIP does not tell where a breakpoint is, so translations know of none.</summary>
    private bool MustStepForDebugger => _debug!.SingleStep || (!Code64 && S->Cs.Base != 0 && !_debug.Breakpoints.IsEmpty);

    private ulong LinearRip => Code64 ? S->Rip : (uint)(S->Cs.Base + S->Rip);

    public void SetGuestDebug(GuestDebug? debug)
    {
        ImmutableArray<Watchpoint> watchpoints = debug?.Watchpoints ?? [];
        if (!watchpoints.AsSpan().SequenceEqual(_watchpoints.AsSpan()))
        {
            _watchpoints = watchpoints;
            FlushTlb(keepGlobal: false);
        }

        _debug = debug;
        MetWatchpoint = false;
        foreach (ulong address in debug?.Breakpoints ?? [])
        {
            _code.AddStop(address);
        }

        if (debug is null)
        {
            _code.ForgetStops();
        }

        UpdateMode();
    }

    public bool TryTranslate(ulong linear, out ulong gpa)
    {
        gpa = 0;
        if (!LongModeActive)
        {
            linear = (uint)linear;
        }
        else if (!IsCanonical(linear))
        {
            return false;
        }

        bool mapped = PageWalker.TryWalk(Memory, Paging, linear, Access.Inspect, AddressSpace.Supervisor, out PageTranslation page, out _);
        gpa = page.Gpa;
        return mapped;
    }

    /// <summary>Callable from any thread.</summary>
    internal bool HasBreakpointAt(ulong linear) => _debug is { } debug && debug.Breakpoints.Contains(linear);

    /// <summary>As <see cref="Step"/>. True: the debugger wants to know.</summary>
    private bool StepDebugged(ref VmExit exit)
    {
        GuestDebug debug = _debug!;
        if (!debug.SingleStep && debug.Breakpoints.Contains(LinearRip))
        {
            exit.Reason = ExitReason.Debug;
            exit.DebugCause = DebugCause.Breakpoint;
            return true;
        }

        MetWatchpoint = false;
        ulong rip = S->Rip;
        bool completed = Step();
        if (completed && MetWatchpoint)
        {
            MetWatchpoint = false;
            exit.DebugCause = DebugCause.Watchpoint;
            exit.Watchpoint = _metWatchpoint;
            exit.WatchedAddress = _watchedAddress;
        }
        else if (debug.SingleStep && (completed || S->Rip != rip))
        {
            exit.DebugCause = DebugCause.Step;
        }

        if (exit.DebugCause == DebugCause.None)
        {
            return false;
        }

        exit.Reason = ExitReason.Debug;
        return true;
    }

    private bool IsWatchedPage(ulong linear)
    {
        foreach (ref readonly Watchpoint watchpoint in _watchpoints.AsSpan())
        {
            if (watchpoint.Overlaps(linear & ~GuestMemory.PageMask, GuestMemory.PageSize))
            {
                return true;
            }
        }

        return false;
    }

    private void NoteWatchpoints(ulong linear, int size, bool write)
    {
        foreach (ref readonly Watchpoint watchpoint in _watchpoints.AsSpan())
        {
            if (!MetWatchpoint && watchpoint.Meets(linear, size, write))
            {
                MetWatchpoint = true;
                _metWatchpoint = watchpoint;
                _watchedAddress = Math.Max(linear, watchpoint.Address);
            }
        }
    }
}
