using Vivarium.Engine;
using Vivarium.Gdb.Registers;

namespace Vivarium.Gdb;

// 'c', 's', vCont, and what comes of them: why the machine stopped.
internal sealed partial class GdbStub
{
    private const int SigInt = 2;
    private const int SigTrap = 5;
    private const int SigAbrt = 6;
    private const int SigKill = 9;

    /// <summary>Stops of other processors at the same moment: told next time, without the machine running in between.</summary>
    private readonly Queue<DebugEvent> _untold = new();

    /// <summary>
    /// Who steps does so alone, because it takes no interrupts meanwhile: with guest time and the others running on, a long row of steps would look
    /// to them as if it were stuck. But what it steps through may wait for them, so that they go on in one step of so many.
    /// </summary>
    private const int StepsToOneTogether = 16;

    private int _steps;
    private DebugEvent _stop = new(DebugEventKind.Stopped);
    private Plan[] _plans = [];

    private enum Motion : byte
    {
        Unsaid,
        Stay,
        Run,
        Step,
    }

    /// <summary>What a processor does next; stepping goes on as long as it is in the range.</summary>
    private readonly record struct Plan(Motion Motion, ulong RangeStart = 0, ulong RangeEnd = 0);

    /// <summary>
    /// Something has happened while the machine ran; it is stopped now. True: the reply says what. False: the machine runs
    /// again, because the client need not know.
    /// </summary>
    public bool TakeStop(in DebugEvent happened)
    {
        if (happened is { Kind: DebugEventKind.Stopped, Exit.DebugCause: DebugCause.Step } && IsInRange(happened.Processor))
        {
            Go();
            return false;
        }

        _stop = happened;
        _general = happened.Processor;
        _reply.Clear();
        WriteStop();
        return true;
    }

    /// <summary>A further event of the same stop.</summary>
    public void KeepForLater(in DebugEvent happened)
    {
        // A breakpoint is met again, and whoever has taken a step is where it ends.
        if (happened is { Kind: DebugEventKind.Stopped, Exit.DebugCause: DebugCause.Watchpoint } or { Kind: DebugEventKind.Crashed })
        {
            _untold.Enqueue(happened);
        }
    }

    /// <summary>The client has asked for a stop, and the machine is stopped.</summary>
    public void TakeInterrupt()
    {
        _stop = new DebugEvent(DebugEventKind.Stopped, Math.Max(_general, 0));
        _reply.Clear();
        WriteStop();
    }

    /// <summary>Why the machine is stopped, or how it has ended.</summary>
    private void WriteStop() => WriteStop(_stop);

    /// <summary>The same for a machine that is not there any more.</summary>
    public static void WriteEnd(Reply reply, DebugEventKind kind) => _ = kind switch
    {
        DebugEventKind.PoweredOff => reply.Text("W00"u8),
        DebugEventKind.Reset => reply.Text("W01"u8),
        _ => reply.Text("X"u8).Bytes([SigKill]),
    };

    private void WriteStop(in DebugEvent stop)
    {
        VmExit exit = stop.Exit;
        int signal = stop.Kind == DebugEventKind.Crashed ? SigAbrt : exit.DebugCause == DebugCause.None ? SigInt : SigTrap;
        _ = _reply.Text("T"u8).Bytes([(byte)signal]);
        switch (exit.DebugCause)
        {
            case DebugCause.Watchpoint:
                _ = _reply.Text(exit.Watchpoint.Kind switch { WatchKind.Write => "watch:", WatchKind.Read => "rwatch:", _ => "awatch:" })
                    .Number(exit.WatchedAddress).Text(";"u8);
                break;
            case DebugCause.Breakpoint when _tellsBreakpointKind:
                ulong rip = RegisterSet.LinearRip(_processors[stop.Processor]);
                _ = _reply.Text(_breakpoints.Contains(rip) ? "swbreak:;"u8 : "hwbreak:;"u8);
                break;
            default:
                break;
        }

        foreach (int number in _registers.Expedited)
        {
            _ = _reply.Number((ulong)number).Text(":"u8);
            WriteValue(_registers.All[number], stop.Processor);
            _ = _reply.Text(";"u8);
        }

        WriteThread(stop.Processor);
        _ = _reply.Text(";"u8);

        void WriteThread(int processor) => _reply.Text("thread:"u8).Number((ulong)processor + 1);
    }

    /// <summary>'c' or 's', perhaps with an address to go on at; 'C' or 'S' with a signal, which a processor cannot take.</summary>
    private Outcome ResumeOne(PacketCursor cursor, bool step, bool withSignal)
    {
        bool valid = !withSignal || (cursor.TryTakeNumber(byte.MaxValue, out _) && (cursor.AtEnd || cursor.Take(';')));
        ulong address = 0;
        bool moved = valid && !cursor.AtEnd;
        if (!valid || (moved && !(cursor.TryTakeNumber(out address) && cursor.AtEnd)))
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return Outcome.Reply;
        }

        int processor = _continued < 0 ? _general : _continued;
        if (moved && !TryMove(processor, address))
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return Outcome.Reply;
        }

        _plans = new Plan[_target.Processors.Count];
        Array.Fill(_plans, new Plan(_continued < 0 ? Motion.Run : Motion.Stay));
        _plans[processor] = new Plan(step ? Motion.Step : Motion.Run);
        return Start();
    }

    private bool TryMove(int processor, ulong address)
    {
        Span<byte> value = stackalloc byte[sizeof(ulong)];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64LittleEndian(value, address);
        Register rip = _registers.All[_registers.Rip];
        _processors.NoteChange(processor);
        return rip.TryWrite(_processors[processor], value[..rip.Bytes]);
    }

    /// <summary>vCont: for each processor the first action that names it, or all.</summary>
    private Outcome ResumeEach(PacketCursor cursor)
    {
        var plans = new Plan[_target.Processors.Count];
        while (!cursor.AtEnd)
        {
            var action = new PacketCursor(cursor.TakeUntil(';'));
            if (!TryTakePlan(ref action, out Plan plan) || !TryTakeOf(ref action, out int processor))
            {
                _ = _reply.Error(ErrorNumber.Invalid);
                return Outcome.Reply;
            }

            foreach (ref Plan known in processor < 0 ? plans : plans.AsSpan(processor, 1))
            {
                known = known.Motion == Motion.Unsaid ? plan : known;
            }
        }

        _plans = plans;
        return Start();
    }

    private static bool TryTakePlan(ref PacketCursor action, out Plan plan)
    {
        plan = default;
        _ = action.TryTake(out byte kind);
        switch ((char)kind)
        {
            case 'c':
                plan = new Plan(Motion.Run);
                return true;
            case 's':
                plan = new Plan(Motion.Step);
                return true;
            case 'C' when action.TryTakeNumber(byte.MaxValue, out _):
                plan = new Plan(Motion.Run);
                return true;
            case 'S' when action.TryTakeNumber(byte.MaxValue, out _):
                plan = new Plan(Motion.Step);
                return true;
            case 'r' when action.TryTakeNumber(out ulong start) && action.Take(',') && action.TryTakeNumber(out ulong end):
                plan = new Plan(Motion.Step, start, end);
                return true;
            default:
                return false;
        }
    }

    /// <summary>Whom an action is for: -1 for all.</summary>
    private bool TryTakeOf(ref PacketCursor action, out int processor)
    {
        processor = -1;
        return action.AtEnd || (action.Take(':') && TryTakeThread(ref action, out processor) && action.AtEnd);
    }

    private Outcome Start()
    {
        while (_untold.TryDequeue(out DebugEvent stop))
        {
            if (stop.Kind == DebugEventKind.Stopped && !_watchpoints.Contains(stop.Exit.Watchpoint))
            {
                // The client has lost interest.
                continue;
            }

            _stop = stop;
            _general = stop.Processor;
            WriteStop();
            return Outcome.Reply;
        }

        Go();
        return Outcome.Running;
    }

    /// <summary>Lets the processors go on as planned.</summary>
    private void Go()
    {
        bool alone = StepsAlone();
        _processors.GiveBack();
        Span<bool> run = stackalloc bool[_plans.Length];
        for (int i = 0; i < _plans.Length; i++)
        {
            run[i] = _plans[i].Motion == Motion.Step || (_plans[i].Motion == Motion.Run && !alone);
            bool step = _plans[i].Motion == Motion.Step;
            _target.Processors[i].SetGuestDebug(new GuestDebug
            {
                SingleStep = step,
                BlockInterrupts = step,
                Breakpoints = _breakpoints.Union(_hardwareBreakpoints),
                Watchpoints = _watchpoints,
            });
        }

        _target.Resume(run, alone);
    }

    /// <summary>Only processors that step are to run. One that is halted waits for what the others and time bring.</summary>
    private bool StepsAlone()
    {
        bool steps = false;
        for (int i = 0; i < _plans.Length; i++)
        {
            if (_plans[i].Motion == Motion.Step)
            {
                steps = true;
                if (_processors[i].Halted)
                {
                    return false;
                }
            }
        }

        return steps && ++_steps % StepsToOneTogether != 0;
    }

    private bool IsInRange(int processor)
    {
        Plan plan = _plans[processor];
        ulong rip = RegisterSet.LinearRip(_processors[processor]);
        return plan.Motion == Motion.Step && rip >= plan.RangeStart && rip < plan.RangeEnd
            && !_breakpoints.Contains(rip) && !_hardwareBreakpoints.Contains(rip);
    }
}
