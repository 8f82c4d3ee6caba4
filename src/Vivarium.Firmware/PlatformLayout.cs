namespace Vivarium.Firmware;

/// <summary>
/// Where things stand in this machine: the addresses, ports and interrupt lines that the firmware tables name and
/// that the devices must answer at. The constants are the machine's fixed wiring (a PIIX-class PC); what may differ
/// from machine to machine is a property.
/// </summary>
public sealed record PlatformLayout
{
    /// <summary>First byte of the hole below 4 GiB that is left to PCI memory, the APICs and firmware.</summary>
    public const ulong PciHoleStart = 0xC000_0000;

    /// <summary>Last byte of the part of the hole that PCI devices may decode; the IOAPIC follows.</summary>
    public const ulong PciHoleWindowEnd = 0xFEBF_FFFF;

    /// <summary>4 GiB: where RAM that does not fit below the hole continues.</summary>
    public const ulong HighRamStart = 1ul << 32;

    /// <summary>End of conventional memory; the extended BIOS data area starts here.</summary>
    public const ulong ConventionalMemoryEnd = 0x9_FC00;

    /// <summary>First byte of extended memory.</summary>
    public const ulong OneMebibyte = 0x10_0000;

    public const ulong LocalApicBase = 0xFEE0_0000;
    public const ulong IoApicBase = 0xFEC0_0000;
    public const ulong HpetBase = 0xFED0_0000;

    public const byte IoApicId = 0;
    public const int IoApicInputs = 24;

    /// <summary>The ports that the power management registers take (PIIX4 data sheet, 7.2).</summary>
    public const byte PowerManagementPorts = 64;

    /// <summary>PM1a event block: status at +0, enable at +2 (ACPI 4.8.4.1).</summary>
    public ushort Pm1aEventBlock => PowerManagementBase;
    public const byte Pm1EventLength = 4;

    /// <summary>PM1a control block (ACPI 4.8.4.2). SCI_EN reads as one: there is no SMI command port to change the mode.</summary>
    public ushort Pm1aControlBlock => (ushort)(PowerManagementBase + 4);
    public const byte Pm1ControlLength = 2;

    /// <summary>ACPI power management timer, 32 bits at 3.579545 MHz.</summary>
    public ushort PmTimerBlock => (ushort)(PowerManagementBase + 8);
    public const byte PmTimerLength = 4;

    /// <summary>General purpose event block 0: two status bytes, two enable bytes.</summary>
    public const byte Gpe0Length = 4;

    /// <summary>System control interrupt: IRQ and GSI 9, level, active high.</summary>
    public const byte SciIrq = 9;

    /// <summary>Reset control register and the value that resets everything.</summary>
    public const ushort ResetRegister = 0xCF9;
    public const byte ResetValue = 6;

    public const ushort RtcPort = 0x70;
    public const byte RtcIrq = 8;

    /// <summary>CMOS index of the century byte.</summary>
    public const byte RtcCenturyIndex = 0x32;

    public const ushort KeyboardDataPort = 0x60;
    public const ushort KeyboardCommandPort = 0x64;
    public const byte KeyboardIrq = 1;
    public const byte MouseIrq = 12;

    public const ushort ParallelPort = 0x378;
    public const byte ParallelPortCount = 3;
    public const byte ParallelIrq = 7;

    /// <summary>The IOAPIC input of the 8254, as on every PC: ISA IRQ 0 arrives at GSI 2.</summary>
    public const byte PitGsi = 2;

    /// <summary>The IOAPIC inputs of PCI interrupt lines A to D; device d, pin p uses line (d + p - 1) mod 4.</summary>
    public const byte PciGsiBase = 16;

    /// <summary>First of the register windows of virtio devices that are not on PCI; above the APICs' own range.</summary>
    public const ulong VirtioMmioBase = 0xFEF0_0000;

    /// <summary>Distance and size of these windows: a page each, so that a guest can map one without the next.</summary>
    public const uint VirtioMmioSize = 0x1000;

    private const byte VirtioMmioGsiBase = 20;
    private const int VirtioMmioGsis = 4;

    /// <summary>How many windows there can be.</summary>
    public const int VirtioMmioMaximum = 16;

    /// <summary>
    /// HPET general capabilities, low dword: vendor 8086h, legacy replacement, 64-bit counter, three comparators,
    /// revision 1 (IA-PC HPET specification 2.3.4).
    /// </summary>
    public const uint HpetEventTimerBlockId = 0x8086_A201;

    /// <summary>Size of the ACPI area at the top of RAM below 4 GiB: tables, then one page for the FACS.</summary>
    public const ulong AcpiAreaSize = 0x1_0000;
    public const ulong AcpiNvsSize = 0x1000;

    /// <summary>The smallest machine that the firmware tables fit into.</summary>
    public const ulong MinimumMemorySize = 2 * OneMebibyte;

    /// <summary>Local APIC identifiers 0 to 254 at most, 255 is broadcast.</summary>
    public const int MaximumCpuCount = 255;

    /// <summary>The interrupts of PCI lines A to D while the guest uses the 8259s.</summary>
    public static ReadOnlySpan<byte> PciIrqs => [10, 10, 11, 11];

    /// <summary>The serial ports of this machine in order, COM1 first.</summary>
    public static IReadOnlyList<SerialPort> PcSerialPorts { get; } =
        [new(0x3F8, 4), new(0x2F8, 3), new(0x3E8, 4), new(0x2E8, 3)];

    /// <summary>RAM in bytes.</summary>
    public required ulong MemorySize { get; init; }

    /// <summary>Whose machine the tables say this is.</summary>
    public PlatformIdentity Identity { get; init; } = PlatformIdentity.Vivarium;

    /// <summary>Virtual CPUs; their local APIC identifiers count from 0.</summary>
    public int CpuCount { get; init; } = 1;

    /// <summary>The serial ports present.</summary>
    public IReadOnlyList<SerialPort> SerialPorts { get; init; } = [PcSerialPorts[0], PcSerialPorts[1]];

    /// <summary>First port of general purpose event block 0.</summary>
    public ushort Gpe0Block { get; init; } = 0xAFE0;

    /// <summary>First of the power management registers' ports; firmware may move them.</summary>
    public ushort PowerManagementBase { get; init; } = 0x600;

    /// <summary>Value of SLP_TYP that means soft-off (S5).</summary>
    public byte SleepTypeS5 { get; init; }

    /// <summary>A parallel port at <see cref="ParallelPort"/>.</summary>
    public bool HasParallelPort { get; init; }

    /// <summary>Systems that do not use ACPI are told of processors and interrupts by a table of their own (<see cref="MultiprocessorTable"/>).</summary>
    public bool HasMultiprocessorTable { get; init; }

    /// <summary>EAX and EDX of CPUID's leaf 1.</summary>
    public uint ProcessorSignature { get; init; }
    public uint ProcessorFeatures { get; init; }

    public bool HasKeyboardController { get; init; } = true;

    public bool HasMouse { get; init; }

    public bool HasVga { get; init; }

    public bool HasHpet { get; init; } = true;

    /// <summary>Virtio devices with a memory-mapped transport, at most <see cref="VirtioMmioMaximum"/>.</summary>
    public int VirtioMmioCount { get; init; }

    /// <summary>RAM from address 0 to this address.</summary>
    public ulong RamBelow4G => Math.Min(MemorySize, PciHoleStart) & ~0xFFFul;

    /// <summary>RAM from 4 GiB on, in bytes.</summary>
    public ulong RamAbove4G => MemorySize > PciHoleStart ? (MemorySize - PciHoleStart) & ~0xFFFul : 0;

    /// <summary>First byte of the ACPI area; RAM that a guest may use below 4 GiB ends here.</summary>
    public ulong AcpiAreaStart => RamBelow4G - AcpiAreaSize;

    /// <summary>First byte of the part of the ACPI area that holds the FACS.</summary>
    public ulong AcpiNvsStart => RamBelow4G - AcpiNvsSize;

    /// <summary>Where the registers of a memory-mapped virtio device are.</summary>
    public static ulong VirtioMmioAddress(int index) => VirtioMmioBase + ((ulong)index * VirtioMmioSize);

    /// <summary>The IOAPIC input of a memory-mapped virtio device; the four inputs above PCI's are shared in turn.</summary>
    public static byte VirtioMmioGsi(int index) => (byte)(VirtioMmioGsiBase + (index % VirtioMmioGsis));
}
