using Vivarium.Engine;
using Vivarium.Memory;

namespace Vivarium.Oracle.Guest;

/// <summary>Runs cases in a guest, through the engine contract only. One vCPU serves all cases.</summary>
internal sealed unsafe class EngineRunner : ICaseRunner, IDisposable
{
    private const int MaxEntries = 16;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(1);

    private readonly GuestMemory _memory = new(GuestLayout.MemorySize);
    private readonly IEngine _engine;
    private readonly IVcpu _vcpu;
    private readonly CpuState _in = new();
    private readonly CpuState _out = new();
    private readonly Timer _watchdog;
    private long _cases;
    private long _casesSeen = -1;
    private volatile bool _running;
    private volatile bool _hung;

    public EngineRunner(Func<GuestMemory, IEngine> createEngine)
    {
        _memory.AddSlot(0, GuestLayout.MemorySize);
        GuestLayout.Build(_memory);
        _engine = createEngine(_memory);
        _vcpu = _engine.CreateVcpu(0, new NullBus());
        _watchdog = new Timer(_ => Watch(), null, s_patience, s_patience);
    }

    public string Name => $"{_engine.Name} engine";

    public VcpuStatistics Statistics => _vcpu.Statistics;

    public void Dispose()
    {
        _watchdog.Dispose();
        _vcpu.Dispose();
        _engine.Dispose();
        _memory.Dispose();
    }

    public void Run(TestCase test, Outcome outcome)
    {
        Load(test);
        _hung = false;
        Interlocked.Increment(ref _cases);
        _running = true;
        outcome.Failure = Enter();
        _running = false;
        _vcpu.GetState(_out);
        Store(test, outcome);
    }

    private void Load(TestCase test)
    {
        for (int page = 0; page < CaseWindow.DataSize / CaseWindow.PageSize; page++)
        {
            _memory.Write(GuestLayout.DataPagePhysical(page), test.Memory.AsSpan(page * CaseWindow.PageSize, CaseWindow.PageSize));
        }

        _memory.Write(GuestLayout.CodeToPhysical(test.CodeAddress), test.Code);
        foreach (ulong pad in test.Pads)
        {
            _memory.Write(GuestLayout.CodeToPhysical(pad), TestCase.LeftPad);
        }

        GuestLayout.Prepare(_in, test.Cpl, test.Bitness);
        CaseState* input = test.Input;
        for (int register = 0; register < 16; register++)
        {
            _in.Gpr[register] = input->Gpr[register];
        }

        _in.Rip = test.ToRip(test.CodeAddress);
        _in.Rflags = input->Rflags;
        _in.Segments[4].Base = input->FsBase;
        _in.Segments[5].Base = input->GsBase;
        new ReadOnlySpan<byte>(input->Xsave, Math.Min(XsaveArea.Size, _in.Xsave.Length)).CopyTo(_in.Xsave);
        _vcpu.SetState(_in);
    }

    /// <summary>Null, or why the case did not come to a halt.</summary>
    private string? Enter()
    {
        for (int entry = 0; entry < MaxEntries; entry++)
        {
            _vcpu.Run(out VmExit exit);
            switch (exit.Reason)
            {
                case ExitReason.Halt:
                    return null;
                case ExitReason.Cancelled when !_hung:
                    continue;
                case ExitReason.Cancelled:
                    return "the engine does not come to an end";
                default:
                    return $"exit {exit.Reason}: {exit.Detail}";
            }
        }

        return "the engine is cancelled again and again";
    }

    private void Store(TestCase test, Outcome outcome)
    {
        CaseState* state = outcome.State;
        for (int register = 0; register < 16; register++)
        {
            state->Gpr[register] = _out.Gpr[register];
        }

        state->Rflags = _out.Rflags;
        state->FsBase = _out.Segments[4].Base;
        state->GsBase = _out.Segments[5].Base;
        _out.Xsave.AsSpan(0, Math.Min(XsaveArea.Size, _out.Xsave.Length)).CopyTo(new Span<byte>(state->Xsave, CaseState.XsaveCapacity));
        outcome.Vector = Outcome.NoException;
        outcome.Error = 0;
        outcome.FaultAddress = 0;
        state->Rip = _out.Rip - 1;

        if ((_out.Segments[1].Attributes & (SegmentRegister.Big | SegmentRegister.Long)) == 0)
        {
            state->Rip = test.ToLinear(state->Rip);
        }

        ulong handler = state->Rip - GuestLayout.Handlers;
        if (outcome.Failure is null && handler < GuestLayout.Vectors * GuestLayout.HandlerSpacing)
        {
            StoreException(test, outcome, (int)(handler / GuestLayout.HandlerSpacing));
        }

        for (int page = 0; page < CaseWindow.DataSize / CaseWindow.PageSize; page++)
        {
            _memory.Read(GuestLayout.DataPagePhysical(page), outcome.Memory.AsSpan(page * CaseWindow.PageSize, CaseWindow.PageSize));
        }
    }

    /// <summary>Takes RIP, RFLAGS and RSP from the frame (SDM vol. 3A, 6.14.2).</summary>
    private void StoreException(TestCase test, Outcome outcome, int vector)
    {
        CaseState* state = outcome.State;
        ulong frame = _out.Gpr[4];
        if (vector is 8 or (>= 10 and <= 14) or 17)
        {
            outcome.Error = _memory.Read<ulong>(frame);
            frame += 8;
        }

        state->Rip = test.ToLinear(_memory.Read<ulong>(frame));
        state->Rflags = _memory.Read<ulong>(frame + 16);
        state->Gpr[4] = _memory.Read<ulong>(frame + 24);
        if (test.Cpl == 3 && vector == 13 && outcome.Error == 0 && test.Pads.Contains(state->Rip))
        {
            // HLT of the landing pad, in user mode.
            return;
        }

        outcome.Vector = vector;
        outcome.FaultAddress = vector == 14 ? _out.Cr2 : 0;
    }

    private void Watch()
    {
        long now = Interlocked.Read(ref _cases);
        if (_running && now == _casesSeen)
        {
            _hung = true;
            _vcpu.Kick();
        }

        _casesSeen = now;
    }
}
