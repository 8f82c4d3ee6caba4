using Vivarium.Engine;

namespace Vivarium.Oracle.Guest;

/// <summary>A machine without devices or interrupts.</summary>
internal sealed class NullBus : IVcpuBus
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
