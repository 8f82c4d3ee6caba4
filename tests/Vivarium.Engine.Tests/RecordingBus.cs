namespace Vivarium.Engine.Tests;

/// <summary>A machine without devices: it remembers what was asked and answers MMIO reads with the address.</summary>
internal sealed class RecordingBus : IVcpuBus
{
    public List<(ulong Gpa, int Size)> MmioReads { get; } = [];

    public List<(ulong Gpa, int Size, ulong Value)> MmioWrites { get; } = [];

    public List<(ushort Port, int Size, uint Value)> PortWrites { get; } = [];

    /// <summary>What ports answer, the first byte first; nobody there answers all ones.</summary>
    public Queue<uint> PortAnswers { get; } = [];

    public byte TaskPriority { get; set; }

    public uint ReadPort(ushort port, int size) => PortAnswers.TryDequeue(out uint answer) ? answer : uint.MaxValue;

    public void WritePort(ushort port, int size, uint value) => PortWrites.Add((port, size, value));

    public ulong ReadMmio(ulong gpa, int size)
    {
        MmioReads.Add((gpa, size));
        return gpa;
    }

    public void WriteMmio(ulong gpa, int size, ulong value) => MmioWrites.Add((gpa, size, value));

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
