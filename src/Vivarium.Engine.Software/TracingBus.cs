using Vivarium.Engine.Tracing;

namespace Vivarium.Engine.Software;

/// <summary>Passes everything on to a bus and notes what is to be traced of it.</summary>
internal sealed unsafe class TracingBus(SoftwareVcpu cpu, IVcpuBus bus, TraceBuffer trace) : IVcpuBus
{
    private readonly bool _mmio = trace.Wants(TraceKinds.Mmio);
    private readonly bool _ports = trace.Wants(TraceKinds.Pio);
    private readonly bool _interrupts = trace.Wants(TraceKinds.Irq);

    public byte TaskPriority
    {
        get => bus.TaskPriority;
        set => bus.TaskPriority = value;
    }

    public uint ReadPort(ushort port, int size)
    {
        uint value = bus.ReadPort(port, size);
        if (_ports)
        {
            trace.Add(TraceEvent.PortRead, (byte)size, cpu.S->Rip, port, value);
        }

        return value;
    }

    public void WritePort(ushort port, int size, uint value)
    {
        if (_ports)
        {
            trace.Add(TraceEvent.PortWrite, (byte)size, cpu.S->Rip, port, value);
        }

        bus.WritePort(port, size, value);
    }

    public ulong ReadMmio(ulong gpa, int size)
    {
        ulong value = bus.ReadMmio(gpa, size);
        if (_mmio)
        {
            trace.Add(TraceEvent.MmioRead, (byte)size, cpu.S->Rip, gpa, value);
        }

        return value;
    }

    public void WriteMmio(ulong gpa, int size, ulong value)
    {
        if (_mmio)
        {
            trace.Add(TraceEvent.MmioWrite, (byte)size, cpu.S->Rip, gpa, value);
        }

        bus.WriteMmio(gpa, size, value);
    }

    public int AcknowledgeInterrupt()
    {
        int vector = bus.AcknowledgeInterrupt();
        if (_interrupts && vector >= 0)
        {
            trace.Add(TraceEvent.Interrupt, (byte)vector, cpu.S->Rip);
        }

        return vector;
    }

    public bool ReadMsr(uint index, out ulong value) => bus.ReadMsr(index, out value);

    public bool WriteMsr(uint index, ulong value) => bus.WriteMsr(index, value);

    public bool Hypercall(in Hypercall call, out ulong result) => bus.Hypercall(call, out result);

    public void TscMoved() => bus.TscMoved();

    public void FloatingPointError() => bus.FloatingPointError();
}
