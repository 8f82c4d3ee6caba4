using Vivarium.Devices;
using Vivarium.Engine;

namespace Vivarium.Board;

/// <summary>
/// Leads the processor's accesses to the board's devices. A device that throws is our mistake, never the guest's right:
/// the machine ends with a report instead of taking the process down.
/// </summary>
internal sealed class PcBus(PortBus ports, MmioBus mmio, LocalApic apic, CoprocessorError coprocessor, Action<CycleEnd> end) : IVcpuBus
{
    private const int NoInterrupt = -1;

    /// <summary>The processor's paravirtual interface; null where the guest sees no hypervisor.</summary>
    public ParavirtualCpu? Paravirtual { get; set; }

    public byte TaskPriority
    {
        get => apic.TaskPriority;
        set => apic.TaskPriority = value;
    }

    public void FloatingPointError() => coprocessor.Assert();

    public uint ReadPort(ushort port, int size)
    {
        try
        {
            return ports.Read(port, size);
        }
        catch (Exception e)
        {
            Fail(e, "reading", $"port {port:x}");
            return uint.MaxValue;
        }
    }

    public void ReadPorts(ushort port, int size, Span<byte> elements)
    {
        try
        {
            ports.Read(port, size, elements);
        }
        catch (Exception e)
        {
            Fail(e, "reading", $"port {port:x}");
            elements.Fill(byte.MaxValue);
        }
    }

    public void WritePort(ushort port, int size, uint value)
    {
        try
        {
            ports.Write(port, size, value);
        }
        catch (Exception e)
        {
            Fail(e, "writing", $"port {port:x}");
        }
    }

    public ulong ReadMmio(ulong gpa, int size)
    {
        try
        {
            return apic.OwnsMmio(gpa) ? apic.ReadMmio(gpa - apic.MmioBase, size) : mmio.Read(gpa, size);
        }
        catch (Exception e)
        {
            Fail(e, "reading", $"address {gpa:x}");
            return ulong.MaxValue;
        }
    }

    public void WriteMmio(ulong gpa, int size, ulong value)
    {
        try
        {
            if (apic.OwnsMmio(gpa))
            {
                apic.WriteMmio(gpa - apic.MmioBase, size, value);
            }
            else
            {
                mmio.Write(gpa, size, value);
            }
        }
        catch (Exception e)
        {
            Fail(e, "writing", $"address {gpa:x}");
        }
    }

    public int AcknowledgeInterrupt()
    {
        try
        {
            return apic.AcknowledgeInterrupt();
        }
        catch (Exception e)
        {
            Fail(e, "acknowledging", "an interrupt");
            return NoInterrupt;
        }
    }

    public bool ReadMsr(uint index, out ulong value)
    {
        try
        {
            return Paravirtual is not null && ParavirtualCpu.OwnsMsr(index)
                ? Paravirtual.ReadMsr(index, out value)
                : apic.ReadMsr(index, out value);
        }
        catch (Exception e)
        {
            Fail(e, "reading", $"MSR {index:x}");
            value = 0;
            return false;
        }
    }

    public bool WriteMsr(uint index, ulong value)
    {
        try
        {
            return Paravirtual is not null && ParavirtualCpu.OwnsMsr(index)
                ? Paravirtual.WriteMsr(index, value)
                : apic.WriteMsr(index, value);
        }
        catch (Exception e)
        {
            Fail(e, "writing", $"MSR {index:x}");
            return false;
        }
    }

    public bool Hypercall(in Hypercall call, out ulong result)
    {
        result = 0;
        if (Paravirtual is null)
        {
            return false;
        }

        try
        {
            result = (ulong)Paravirtual.Hypercall(call.Number, call.A0, call.A1, call.A2, call.A3, call.Is64Bit, call.Cpl);
        }
        catch (Exception e)
        {
            Fail(e, "doing", $"hypercall {call.Number}");
        }

        return true;
    }

    public void TscMoved()
    {
        apic.TscMoved();
        Paravirtual?.TscMoved();
    }

    private void Fail(Exception e, string doing, string what) =>
        end(new CycleEnd(CycleEndKind.Failed, $"a device failed {doing} {what}: {e.GetType().Name}: {e.Message} {e.StackTrace?.Split('\n').FirstOrDefault()?.Trim()}"));
}
