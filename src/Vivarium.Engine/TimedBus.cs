namespace Vivarium.Engine;

/// <summary>Passes everything on to a bus and books the time that it takes as <see cref="VcpuActivity.Devices"/>.</summary>
public sealed class TimedBus(IVcpuBus bus, VcpuTimes times) : IVcpuBus
{
    public byte TaskPriority
    {
        get
        {
            times.Enter(VcpuActivity.Devices);
            byte priority = bus.TaskPriority;
            times.Enter(VcpuActivity.Monitor);
            return priority;
        }

        set
        {
            times.Enter(VcpuActivity.Devices);
            bus.TaskPriority = value;
            times.Enter(VcpuActivity.Monitor);
        }
    }

    public uint ReadPort(ushort port, int size)
    {
        times.Enter(VcpuActivity.Devices);
        uint value = bus.ReadPort(port, size);
        times.Enter(VcpuActivity.Monitor);
        return value;
    }

    public void ReadPorts(ushort port, int size, Span<byte> elements)
    {
        times.Enter(VcpuActivity.Devices);
        bus.ReadPorts(port, size, elements);
        times.Enter(VcpuActivity.Monitor);
    }

    public void WritePort(ushort port, int size, uint value)
    {
        times.Enter(VcpuActivity.Devices);
        bus.WritePort(port, size, value);
        times.Enter(VcpuActivity.Monitor);
    }

    public ulong ReadMmio(ulong gpa, int size)
    {
        times.Enter(VcpuActivity.Devices);
        ulong value = bus.ReadMmio(gpa, size);
        times.Enter(VcpuActivity.Monitor);
        return value;
    }

    public void WriteMmio(ulong gpa, int size, ulong value)
    {
        times.Enter(VcpuActivity.Devices);
        bus.WriteMmio(gpa, size, value);
        times.Enter(VcpuActivity.Monitor);
    }

    public int AcknowledgeInterrupt()
    {
        times.Enter(VcpuActivity.Devices);
        int vector = bus.AcknowledgeInterrupt();
        times.Enter(VcpuActivity.Monitor);
        return vector;
    }

    public bool ReadMsr(uint index, out ulong value)
    {
        times.Enter(VcpuActivity.Devices);
        bool known = bus.ReadMsr(index, out value);
        times.Enter(VcpuActivity.Monitor);
        return known;
    }

    public bool WriteMsr(uint index, ulong value)
    {
        times.Enter(VcpuActivity.Devices);
        bool known = bus.WriteMsr(index, value);
        times.Enter(VcpuActivity.Monitor);
        return known;
    }

    public bool Hypercall(in Hypercall call, out ulong result)
    {
        times.Enter(VcpuActivity.Devices);
        bool known = bus.Hypercall(call, out result);
        times.Enter(VcpuActivity.Monitor);
        return known;
    }

    public void TscMoved() => bus.TscMoved();

    public void FloatingPointError() => bus.FloatingPointError();
}
