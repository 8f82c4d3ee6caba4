using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Software;

// Single-step, instruction and data breakpoints (SDM vol. 3B, 17.2-17.3). They are looked at in BlockMode.Stepping only.
internal sealed unsafe partial class SoftwareVcpu
{
    private const ulong Dr6SingleStep = 1 << 14;
    private const int Execute = 0;
    private const int WriteOnly = 1;
    private const int ReadOrWrite = 3;

    private ulong _breakpointsHit;

    /// <summary>An access of the current instruction has met a data breakpoint.</summary>
    internal bool BreakpointMet => _breakpointsHit != 0;

    /// <summary>Raises #DB as a fault if an enabled breakpoint stands on the instruction at RIP, unless RF is set.</summary>
    private bool MeetsInstructionBreakpoint()
    {
        if (S->SystemFlags.Has(RflagsBits.Rf))
        {
            return false;
        }

        ulong linear = Code64 ? S->Rip : (uint)(S->Cs.Base + S->Rip);
        ulong hit = 0;
        for (int i = 0; i < 4; i++)
        {
            if (IsEnabled(i) && Condition(i) == Execute && S->Dr[i] == linear)
            {
                hit |= 1ul << i;
            }
        }

        if (hit == 0)
        {
            return false;
        }

        S->Dr[6] = (S->Dr[6] & ~0xFul) | hit;
        Deliver((int)Vector.Debug, null, EventKind.Fault);
        return true;
    }

    /// <summary>Remembers data breakpoints that an access meets; the trap comes after the instruction.</summary>
    internal void NoteDataBreakpoints(ulong linear, int size, bool write)
    {
        for (int i = 0; i < 4; i++)
        {
            int condition = Condition(i);
            if (IsEnabled(i) && (condition == ReadOrWrite || (condition == WriteOnly && write)))
            {
                ulong length = (ulong)Length(i);
                ulong start = S->Dr[i] & ~(length - 1);
                if (linear < start + length && start < linear + (ulong)size)
                {
                    _breakpointsHit |= 1ul << i;
                }
            }
        }
    }

    /// <summary>After a completed instruction: #DB as a trap for a single step or a data breakpoint.</summary>
    private void RaiseDebugTraps(bool singleStep)
    {
        ulong hit = _breakpointsHit | (singleStep ? Dr6SingleStep : 0);
        _breakpointsHit = 0;
        if (hit == 0)
        {
            return;
        }

        S->Dr[6] = (S->Dr[6] & ~0xFul) | hit;
        Deliver((int)Vector.Debug, null, EventKind.Trap);
    }

    private bool IsEnabled(int index) => (S->Dr[7] >> (index * 2) & 3) != 0;

    private int Condition(int index) => (int)(S->Dr[7] >> (16 + (index * 4))) & 3;

    /// <summary>Bytes watched: the LEN field's 00, 01, 11, 10 mean 1, 2, 4, 8.</summary>
    private int Length(int index) => ((int)(S->Dr[7] >> (18 + (index * 4))) & 3) switch { 0 => 1, 1 => 2, 3 => 4, _ => 8 };
}
