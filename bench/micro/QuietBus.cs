using Vivarium.Engine;

namespace Vivarium.Micro;

/// <summary>The rest of the machine does nothing, so that only the way to it and back is measured.</summary>
internal sealed class QuietBus : IVcpuBus
{
    public static readonly QuietBus Instance = new();

    public byte TaskPriority { get; set; }

    public uint ReadPort(ushort port, int size) => 0;

    public void WritePort(ushort port, int size, uint value)
    {
    }

    public ulong ReadMmio(ulong gpa, int size) => 0;

    public void WriteMmio(ulong gpa, int size, ulong value)
    {
    }

    public int AcknowledgeInterrupt() => -1;

    public bool ReadMsr(uint index, out ulong value)
    {
        value = 0;
        return true;
    }

    public bool WriteMsr(uint index, ulong value) => true;

    public bool Hypercall(in Hypercall call, out ulong result)
    {
        result = 0;
        return true;
    }

    public void TscMoved()
    {
    }
}
