// Signatures of the devices still to be filled in; each moves to its own file.
#pragma warning disable CS0067, CA1822
namespace Vivarium.Devices;


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
