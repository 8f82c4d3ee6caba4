using Iced.Intel;
using Vivarium.Engine.Tests.Snippets;

namespace Vivarium.Engine.Tests.Smp;

/// <summary>
/// One of several vCPUs, with a thread, code and a stack of its own. Its snippet ends by HLT with interrupts off; HLT
/// with interrupts on waits for an event, as it does in a machine.
/// </summary>
internal sealed class SmpCpu
{
    /// <summary>Bytes of code that each vCPU has for itself.</summary>
    public const ulong CodeSize = 0x2000;

    private const ulong FirstStack = 0x7_0000;
    private const ulong StackSize = 0x2000;
    private const ulong TssSize = 0x80;

    private readonly SnippetMachine _machine;
    private readonly AutoResetEvent _wake = new(false);
    private Thread? _thread;
    private volatile bool _aborted;
    private bool _sleeping;

    public SmpCpu(SnippetMachine machine, int index)
    {
        _machine = machine;
        Index = index;
        Vcpu = machine.CreateVcpu(index + 1, Bus);
        Vcpu.GetState(State);
        CopyState(machine.State, State);
        State.Rip = Code;
        State.Gpr[4] = FirstStack + ((ulong)index * StackSize) + StackSize;
        ulong tss = SnippetMachine.Tss + ((ulong)(index + 1) * TssSize);
        machine.Memory.Write(tss + 4, State.Gpr[4] - (StackSize / 2));
        machine.Memory.Write(tss + 0x66, (ushort)0x68);
        State.Tr.Base = tss;
    }

    public int Index { get; }

    public IVcpu Vcpu { get; }

    public SmpBus Bus { get; } = new();

    /// <summary>What the run begins with, and what it left.</summary>
    public CpuState State { get; } = new();

    /// <summary>Where this vCPU's snippet stands.</summary>
    public ulong Code => SnippetMachine.Code + ((ulong)Index * CodeSize);

    /// <summary>What went wrong, in one sentence; null if it ended as it should.</summary>
    public string? Failure { get; private set; }

    /// <summary>How often Run returned because of a kick.</summary>
    public long Cancelled { get; private set; }

    /// <summary>How often the vCPU waited in HLT.</summary>
    public long Waits { get; private set; }

    public bool Running => _thread is { IsAlive: true };

    public ulong Rax { get => State.Gpr[0]; set => State.Gpr[0] = value; }

    public ulong Rcx { get => State.Gpr[1]; set => State.Gpr[1] = value; }

    public ulong Rdx { get => State.Gpr[2]; set => State.Gpr[2] = value; }

    public ulong Rbx { get => State.Gpr[3]; set => State.Gpr[3] = value; }

    public ulong Rbp { get => State.Gpr[5]; set => State.Gpr[5] = value; }

    public ulong Rsi { get => State.Gpr[6]; set => State.Gpr[6] = value; }

    public ulong Rdi { get => State.Gpr[7]; set => State.Gpr[7] = value; }

    public ulong R8 { get => State.Gpr[8]; set => State.Gpr[8] = value; }

    /// <summary>Assembles the snippet of this vCPU.</summary>
    public void Write(Action<Assembler> snippet)
    {
        ulong end = _machine.Write(Code, snippet);
        Assert.True(end <= Code + CodeSize, "the snippet is too long for its place");
    }

    /// <summary>Raises an interrupt and wakes the vCPU, from any thread. False: the same one was pending already.</summary>
    public bool Interrupt(int vector)
    {
        bool raised = Bus.Raise(vector);
        Vcpu.RequestInterrupt();
        Wake();
        return raised;
    }

    public void Nmi()
    {
        Vcpu.RequestNmi();
        Wake();
    }

    public void Kick()
    {
        Vcpu.Kick();
        Wake();
    }

    /// <summary>Ends the run whatever the guest does; it counts as a failure.</summary>
    public void Abort()
    {
        _aborted = true;
        Kick();
    }

    public void Start(Action ended)
    {
        Failure = null;
        _aborted = false;
        Vcpu.SetState(State);
        _thread = new Thread(() =>
        {
            RunToEnd();
            ended();
        })
        {
            IsBackground = true,
            Name = $"vCPU {Index}",
        };
        _thread.Start();
    }

    private void RunToEnd()
    {
        try
        {
            VmExit exit = default;
            while (!_aborted)
            {
                Vcpu.Run(out exit);
                if (exit.Reason == ExitReason.Cancelled)
                {
                    Cancelled++;
                    continue;
                }

                Vcpu.GetState(State);
                if (exit.Reason != ExitReason.Halt || (State.Rflags & (1 << 9)) == 0)
                {
                    break;
                }

                Sleep();
            }

            if (_aborted)
            {
                Vcpu.GetState(State);
            }

            Failure = Describe(exit);
        }
        catch (Exception thrown)
        {
            Failure = $"vCPU {Index}: {thrown}";
        }
    }

    private void Sleep()
    {
        Waits++;
        while (!_aborted)
        {
            Volatile.Write(ref _sleeping, true);
            Interlocked.MemoryBarrier();
            if (Vcpu.HasPendingEvent)
            {
                break;
            }

            _wake.WaitOne();
        }

        Volatile.Write(ref _sleeping, false);
    }

    private void Wake()
    {
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _sleeping))
        {
            _wake.Set();
        }
    }

    private string? Describe(in VmExit exit)
    {
        string where = $"at {State.Rip:x} (RAX {State.Gpr[0]:x}, RCX {State.Gpr[1]:x}, R8 {State.Gpr[8]:x})";
        if (_aborted)
        {
            return $"vCPU {Index} did not end: it was {(State.Halted ? "halted" : "running")} {where}";
        }

        if (exit.Reason != ExitReason.Halt)
        {
            return $"vCPU {Index} ended by {exit.Reason} {where}: {exit.Detail}";
        }

        ulong offset = State.Rip - 1 - SnippetMachine.Handlers;
        if (offset >= 0x1000)
        {
            return null;
        }

        ulong rsp = State.Gpr[4];
        string stack = $"{_machine.Memory.Read<ulong>(rsp):x} {_machine.Memory.Read<ulong>(rsp + 8):x}";
        return $"vCPU {Index} took vector {offset / 16:x} (stack {stack}, CR2 {State.Cr2:x}) {where}";
    }

    private static void CopyState(CpuState from, CpuState to)
    {
        from.Segments.CopyTo(to.Segments, 0);
        to.Ldtr = from.Ldtr;
        to.Tr = from.Tr;
        to.GdtrBase = from.GdtrBase;
        to.GdtrLimit = from.GdtrLimit;
        to.IdtrBase = from.IdtrBase;
        to.IdtrLimit = from.IdtrLimit;
        to.Cr0 = from.Cr0;
        to.Cr3 = from.Cr3;
        to.Cr4 = from.Cr4;
        to.Efer = from.Efer;
        to.Xcr0 = from.Xcr0;
        to.Rflags = from.Rflags;
    }
}
