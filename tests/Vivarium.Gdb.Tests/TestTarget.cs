using Vivarium.Engine;
using Vivarium.Engine.Software;
using Vivarium.Memory;

namespace Vivarium.Gdb.Tests;

/// <summary>A machine whose processors never run: "running" is only said. Real mode, 1 MiB of memory.</summary>
internal sealed class TestTarget : IDebugTarget, IDisposable
{
    public const ulong RamSize = 1 << 20;

    private readonly SoftwareEngine _engine;
    private Action<DebugEvent>? _tell;

    public TestTarget(int processors = 2)
    {
        Model = CpuModel.Create("host", processors: processors);
        Memory = new GuestMemory(RamSize);
        Memory.AddSlot(0, RamSize);
        _engine = new SoftwareEngine(Memory, Model);
        Processors = [.. Enumerable.Range(0, processors).Select(i => _engine.CreateVcpu(i, new NoBus()))];
    }

    public Lock Gate { get; } = new();

    public bool HasEnded { get; set; }

    public CpuModel Model { get; }

    public GuestMemory Memory { get; }

    public IReadOnlyList<IVcpu> Processors { get; }

    public bool IsAttached => Volatile.Read(ref _tell) is not null;

    public int Detaches { get; private set; }

    public int Stops { get; private set; }

    public bool WasKilled { get; private set; }

    /// <summary>Which processors were let run last; null while stopped.</summary>
    public bool[]? Running { get; private set; }

    /// <summary>They were to take a step only.</summary>
    public bool Stepping { get; private set; }

    /// <summary>Called when the machine is let run.</summary>
    public Action? Resumed { get; set; }

    public bool IsStarted(int processor) => processor == 0;

    public bool TryAttach(Action<DebugEvent> tell) => Interlocked.CompareExchange(ref _tell, tell, null) is null;

    public void Detach()
    {
        Detaches++;
        Running = null;
        _ = Interlocked.Exchange(ref _tell, null);
    }

    public void Stop()
    {
        Stops++;
        Running = null;
    }

    public void Resume(ReadOnlySpan<bool> run, bool stepping)
    {
        Running = run.ToArray();
        Stepping = stepping;
        Resumed?.Invoke();
    }

    public void Kill() => WasKilled = true;

    public void Tell(in DebugEvent happened) => Volatile.Read(ref _tell)?.Invoke(happened);

    public CpuState StateOf(int processor)
    {
        var state = new CpuState();
        Processors[processor].GetState(state);
        return state;
    }

    public void Dispose()
    {
        foreach (IVcpu processor in Processors)
        {
            processor.Dispose();
        }

        _engine.Dispose();
        Memory.Dispose();
    }

    private sealed class NoBus : IVcpuBus
    {
        public byte TaskPriority { get; set; }

        public uint ReadPort(ushort port, int size) => uint.MaxValue;

        public void WritePort(ushort port, int size, uint value)
        {
        }

        public ulong ReadMmio(ulong gpa, int size) => ulong.MaxValue;

        public void WriteMmio(ulong gpa, int size, ulong value)
        {
        }

        public int AcknowledgeInterrupt() => -1;

        public bool ReadMsr(uint index, out ulong value)
        {
            value = 0;
            return false;
        }

        public bool WriteMsr(uint index, ulong value) => false;

        public bool Hypercall(in Hypercall call, out ulong result)
        {
            result = 0;
            return false;
        }

        public void TscMoved()
        {
        }
    }
}
