using Vivarium.Engine.Software.Privileged;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software;

// Single-step, instruction and data breakpoints (SDM vol. 3B, 17.2-17.3). They are looked at in BlockMode.Stepping only.
internal sealed unsafe partial class SoftwareVcpu
{
    private const ulong Dr6SingleStep = 1 << 14;
    private const int Execute = 0;
    private const int WriteOnly = 1;
    private const int ReadOrWrite = 3;

    private ulong _breakpointsHit;

    /// <summary>The last trapped instruction enters a handler and clears TF on the way: no single-step trap follows it.</summary>
    private bool _entersHandler;

    /// <summary>MOV SS or POP SS was just executed: breakpoints and the single-step trap wait for the next instruction (SDM vol. 3A, 6.8.3).</summary>
    public bool DebugShadow { get; set; }

    /// <summary>Every instruction, and every iteration of a string instruction, is to be looked at.</summary>
    public bool Stepping => (Mode & BlockMode.Stepping) != 0;

    /// <summary>After an instruction, or an iteration of a string instruction, that was completed while stepping.</summary>
    private void FinishStep(bool singleStep)
    {
        if (!DebugShadow)
        {
            RaiseDebugTraps(singleStep && !(_entersHandler && !S->SystemFlags.Has(RflagsBits.Tf)));
        }
    }

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

        if (_watchpoints.Length != 0)
        {
            NoteWatchpoints(linear, size, write);
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
