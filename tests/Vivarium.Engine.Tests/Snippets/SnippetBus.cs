namespace Vivarium.Engine.Tests.Snippets;

/// <summary>A bus of remembered bytes: what was written to a port or to MMIO can be read back; interrupts come from a queue.</summary>
internal sealed class SnippetBus : IVcpuBus
{
    public List<(ulong Gpa, int Size)> MmioReads { get; } = [];

    public List<(ulong Gpa, int Size, ulong Value)> MmioWrites { get; } = [];

    public List<(ushort Port, int Size, uint Value)> PortWrites { get; } = [];

    /// <summary>What MMIO holds, by byte; elsewhere the low byte of the address.</summary>
    public Dictionary<ulong, byte> Mmio { get; } = [];

    /// <summary>Answers to IN, in order; then all ones.</summary>
    public Queue<uint> PortAnswers { get; } = [];

    /// <summary>Called on OUT, on the vCPU's thread in the middle of the instruction, as a device would be.</summary>
    public Action<uint>? OnPortWrite { get; set; }

    /// <summary>Vectors to deliver, in order.</summary>
    public Queue<int> Interrupts { get; } = [];

    public byte TaskPriority { get; set; }

    public uint ReadPort(ushort port, int size) => PortAnswers.TryDequeue(out uint answer) ? answer : uint.MaxValue;

    public void WritePort(ushort port, int size, uint value)
    {
        PortWrites.Add((port, size, value));
        OnPortWrite?.Invoke(value);
    }

    public ulong ReadMmio(ulong gpa, int size)
    {
        MmioReads.Add((gpa, size));
        ulong value = 0;
        for (int i = 0; i < size; i++)
        {
            value |= (ulong)Byte(gpa + (ulong)i) << (i * 8);
        }

        return value;
    }

    public void WriteMmio(ulong gpa, int size, ulong value)
    {
        MmioWrites.Add((gpa, size, value));
        for (int i = 0; i < size; i++)
        {
            Mmio[gpa + (ulong)i] = (byte)(value >> (i * 8));
        }
    }

    public byte Byte(ulong gpa) => Mmio.TryGetValue(gpa, out byte value) ? value : (byte)gpa;

    public int AcknowledgeInterrupt() => Interrupts.TryDequeue(out int vector) ? vector : -1;

    public bool ReadMsr(uint index, out ulong value)
    {
        value = 0;
        return false;
    }

    public bool WriteMsr(uint index, ulong value) => false;

    /// <summary>The hypercalls made; each is answered with <see cref="HypercallAnswer"/>.</summary>
    public List<Hypercall> Hypercalls { get; } = [];

    /// <summary>Null: nobody answers hypercalls.</summary>
    public ulong? HypercallAnswer { get; set; }

    /// <summary>How often the guest has set its time-stamp counter.</summary>
    public int TscMoves { get; private set; }

    public bool Hypercall(in Hypercall call, out ulong result)
    {
        Hypercalls.Add(call);
        result = HypercallAnswer.GetValueOrDefault();
        return HypercallAnswer is not null;
    }

    public void TscMoved() => TscMoves++;

    /// <summary>Called when the processor asserts FERR#.</summary>
    public Action? OnFloatingPointError { get; set; }

    public void FloatingPointError() => OnFloatingPointError?.Invoke();
}
