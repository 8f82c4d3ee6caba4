// Signatures of the devices still to be filled in; each moves to its own file.
#pragma warning disable CS0067, CA1822
namespace Vivarium.Devices;

public interface ISerialBackend { void Write(ReadOnlySpan<byte> bytes); }

public sealed class ApicBus(Lock gate)
{
    internal Lock Lock => gate;
    internal Pic8259? Pic { get; set; }
    internal void SetExternalInterrupt(bool level) => throw new NotImplementedException();
}

/// <summary>Ports 0x20-21, 0xA0-A1, 0x4D0-4D1.</summary>
public sealed class Pic8259(Lock gate)
{
    internal Lock Lock => gate;
    public Action<bool>? OutputChanged { get; set; }
    public void Map(PortBus ports) => throw new NotImplementedException();
    internal void SetInput(int irq, bool level) => throw new NotImplementedException();
}

/// <summary>0xFEC00000.</summary>
public sealed class IoApic(ApicBus apics)
{
    public const int Pins = 24;
    public const ulong DefaultAddress = 0xFEC0_0000;
    public ApicBus Bus => apics;
    public void Map(MmioBus mmio) => throw new NotImplementedException();
    internal void SetInput(int pin, bool level) => throw new NotImplementedException();
}

/// <summary>The machine's IVcpuBus asks <see cref="OwnsMmio"/> before the MmioBus.</summary>
public sealed class LocalApic(uint id, ApicBus apics, MachineClock clock) : IMmioDevice
{
    public const ulong DefaultAddress = 0xFEE0_0000;
    public const long TimerFrequency = 1_000_000_000;
    public uint Id => id;
    public ApicBus Bus => apics;
    public MachineClock Clock => clock;
    public ILocalApicEvents? Events { get; set; }
    public bool HasInterrupt => throw new NotImplementedException();
    public int AcknowledgeInterrupt() => throw new NotImplementedException();
    public byte TaskPriority { get; set; }
    public bool OwnsMmio(ulong gpa) => throw new NotImplementedException();
    public ulong MmioBase => throw new NotImplementedException();
    public ulong ReadMmio(ulong offset, int size) => throw new NotImplementedException();
    public void WriteMmio(ulong offset, int size, ulong value) => throw new NotImplementedException();
    public bool ReadMsr(uint index, out ulong value) => throw new NotImplementedException();
    public bool WriteMsr(uint index, ulong value) => throw new NotImplementedException();
    /// <summary>What firmware leaves on the bootstrap processor: enabled, LINT0 ExtINT, LINT1 NMI.</summary>
    public void EnterVirtualWireMode() => throw new NotImplementedException();
    public void Reset() => throw new NotImplementedException();
}

/// <summary>Ports 0x40-43 and 0x61.</summary>
public sealed class Pit8254(MachineClock clock, InterruptLine irq0)
{
    public MachineClock Clock => clock;
    public InterruptLine Irq0 => irq0;
    public void Map(PortBus ports) => throw new NotImplementedException();
}

/// <summary>Ports 0x70-71.</summary>
public sealed class Rtc(MachineClock clock, InterruptLine irq8, ulong lowMemory, ulong highMemory)
{
    public MachineClock Clock => clock;
    public InterruptLine Irq8 => irq8;
    public ulong Low => lowMemory;
    public ulong High => highMemory;
    public void Map(PortBus ports) => throw new NotImplementedException();
}

/// <summary>0xFED00000. The lines to IRQ 0 and IRQ 8 are its own; the PIT's and RTC's are those it replaces.</summary>
public sealed class Hpet(MachineClock clock, InterruptRouter interrupts, InterruptLine pit, InterruptLine rtc)
{
    public const ulong DefaultAddress = 0xFED0_0000;
    public (MachineClock, InterruptRouter, InterruptLine, InterruptLine) Parts => (clock, interrupts, pit, rtc);
    public void Map(MmioBus mmio) => throw new NotImplementedException();
}

/// <summary>PM1a event block +0 (4), PM1a control +4 (2), PM timer +8 (4); GPE0 block at its own base.</summary>
public sealed class AcpiPm(MachineClock clock, InterruptLine sci)
{
    public const ushort DefaultBase = 0x600;
    public const int EventOffset = 0, ControlOffset = 4, TimerOffset = 8;
    public const ushort GpeBase = 0xAFE0;
    public const int GpeLength = 4;
    public const int SciIrq = 9;
    /// <summary>SLP_TYP values for \_S5 in the DSDT.</summary>
    public const int SleepTypeS5 = 5;
    public (MachineClock, InterruptLine) Parts => (clock, sci);
    public Action? PowerOff { get; set; }
    public void PressPowerButton() => throw new NotImplementedException();
    public void Map(PortBus ports) => throw new NotImplementedException();
}

/// <summary>Ports 0x60 and 0x64.</summary>
public sealed class I8042(InterruptLine irq1, InterruptLine irq12)
{
    public (InterruptLine, InterruptLine) Parts => (irq1, irq12);
    public Action? ResetRequested { get; set; }
    public void Map(PortBus ports) => throw new NotImplementedException();
}

public sealed class Uart16550(MachineClock clock, InterruptLine irq, ISerialBackend? backend)
{
    public const ushort Com1 = 0x3F8, Com2 = 0x2F8, Com3 = 0x3E8, Com4 = 0x2E8;
    public (MachineClock, InterruptLine, ISerialBackend?) Parts => (clock, irq, backend);
    /// <summary>Takes as many bytes as there is room for and says how many; <see cref="ReceiveReady"/> tells when there is room again.</summary>
    public int Receive(ReadOnlySpan<byte> bytes) => throw new NotImplementedException();
    public Action? ReceiveReady { get; set; }
    public void Map(PortBus ports, ushort firstPort, string name) => throw new NotImplementedException();
}

/// <summary>Port 0xCF9; reached through <see cref="PciHost"/>, in whose range it lies.</summary>
public sealed class ResetControl
{
    public const ushort Port = 0xCF9;
    public const byte HardReset = 0x06;
    public Action? ResetRequested { get; set; }
}

/// <summary>Ports 0xCF8-0xCFF.</summary>
public sealed class PciHost(ResetControl reset)
{
    public ResetControl Reset => reset;
    public void Map(PortBus ports) => throw new NotImplementedException();
}

/// <summary>Port 0xE9.</summary>
public sealed class DebugConsole(Action<byte> sink)
{
    public Action<byte> Sink => sink;
    public void Map(PortBus ports) => throw new NotImplementedException();
}

/// <summary>Port 0xF4. The value that was written; exit status (v&lt;&lt;1)|1 is the machine's business.</summary>
public sealed class DebugExit
{
    public Action<uint>? ExitRequested { get; set; }
    public void Map(PortBus ports) => throw new NotImplementedException();
}

/// <summary>Port 0x80: keeps the last code.</summary>
public sealed class PostCode { public byte Last => 0; public void Map(PortBus ports) => throw new NotImplementedException(); }

/// <summary>Port 0x92: fast A20 and reset.</summary>
public sealed class SystemControlPort
{
    public Action? ResetRequested { get; set; }
    public void Map(PortBus ports) => throw new NotImplementedException();
}
