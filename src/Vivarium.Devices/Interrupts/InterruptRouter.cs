namespace Vivarium.Devices;

/// <summary>
/// The interrupt wiring of a PC: every ISA interrupt goes to the 8259 pair and to the I/O APIC (IRQ 0 to pin 2, where
/// the MADT has to say so), and the 8259's output goes to LINT0 of every local APIC.
/// </summary>
/// <remarks>
/// Lock order: a device's lock, then <see cref="Lock"/>, then the clock's and its queues'. The 8259 and the I/O APIC share this
/// one lock, because an interrupt runs through them in both directions (request down, EOI up). Local APICs have none: what
/// they are told is atomic, and what they tell (EOI, acknowledge) they tell on their processors' threads, holding nothing.
/// Restore the clock first, then the devices (which set their lines again), then <see cref="Pic"/>,
/// <see cref="IoApic"/> and the local APICs: what they have latched is in their own states.
/// </remarks>
public sealed class InterruptRouter
{
    public const int IsaIrqs = 16;

    private const int PciLines = 4;

    /// <summary>The 8259's cascade input: no device can use it.</summary>
    public const int CascadeIrq = 2;

    /// <summary>Where ISA IRQ 0 arrives at the I/O APIC.</summary>
    public const int TimerPin = 2;

    /// <summary>Numbers from here on are PCI interrupts, wherever they are led to.</summary>
    private const int FirstPciIrq = IsaIrqs;

    private readonly int[] _isaAsserted = new int[IsaIrqs];
    private readonly int[] _pinAsserted = new int[IoApic.Pins];
    private readonly int[] _pciAsserted = new int[PciLines];

    /// <summary>The ISA interrupts that the PCI interrupts are led to; null: none.</summary>
    private readonly int?[] _pciRoutes = [PciIrq(0), PciIrq(1), PciIrq(2), PciIrq(3)];

    public InterruptRouter()
    {
        Apics = new ApicBus(Lock);
        Pic = new Pic8259(Lock);
        IoApic = new IoApic(Apics);
        Pic.OutputChanged = Apics.SetExternalInterrupt;
        Apics.Pic = Pic;
    }

    public Pic8259 Pic { get; }

    public IoApic IoApic { get; }

    public ApicBus Apics { get; }

    internal Lock Lock { get; } = new();

    /// <summary>A line to an ISA interrupt: to the 8259 and the I/O APIC.</summary>
    public InterruptLine CreateIsaLine(int irq)
    {
        if (irq is < 0 or >= IsaIrqs or CascadeIrq)
            throw new ArgumentOutOfRangeException(nameof(irq), irq, "There is no such ISA interrupt.");
        return new InterruptLine(this, irq, irq == 0 ? TimerPin : irq);
    }

    /// <summary>A line to a pin that only the I/O APIC has (16-23).</summary>
    public InterruptLine CreateIoApicLine(int pin)
    {
        if (pin is < IsaIrqs or >= IoApic.Pins)
            throw new ArgumentOutOfRangeException(nameof(pin), pin, "There is no such I/O APIC pin.");
        return new InterruptLine(this, -1, pin);
    }

    /// <summary>
    /// A line to one of the four PCI interrupts: to I/O APIC pin 16 + <paramref name="line"/>, and as an ISA interrupt to where
    /// <see cref="RoutePci"/> leads it: at first IRQ 10 or 11, level-triggered, as firmware leaves it.
    /// </summary>
    public InterruptLine CreatePciLine(int line)
    {
        if (line is < 0 or >= PciLines)
            throw new ArgumentOutOfRangeException(nameof(line), line, "There is no such PCI interrupt.");
        Pic.SetLevelTriggered(PciIrq(line));
        return new InterruptLine(this, FirstPciIrq + line, IsaIrqs + line);
    }

    /// <summary>Leads a PCI interrupt to an ISA interrupt, or to none. One to which no device can have a line is none.</summary>
    public void RoutePci(int line, int? irq)
    {
        lock (Lock)
        {
            var wanted = irq is < 0 or >= IsaIrqs or 0 or CascadeIrq ? null : irq;
            var before = _pciRoutes[line];
            if (wanted == before)
                return;
            _pciRoutes[line] = wanted;
            if (_pciAsserted[line] == 0)
                return;
            if (before is { } old)
                DriveIsa(old, old, false);
            if (wanted is { } now)
                DriveIsa(now, now, true);
        }
    }

    /// <summary>The 8259's input for a PCI interrupt line.</summary>
    internal static int PciIrq(int line) => line < 2 ? 10 : 11;

    internal void Drive(int isaIrq, int pin, bool level)
    {
        if (isaIrq < FirstPciIrq)
        {
            DriveIsa(isaIrq, pin, level);
            return;
        }

        var line = isaIrq - FirstPciIrq;
        DriveIsa(-1, pin, level);
        if (Changes(ref _pciAsserted[line], level) && _pciRoutes[line] is { } irq)
            DriveIsa(irq, irq, level);
    }

    private void DriveIsa(int isaIrq, int pin, bool level)
    {
        if (isaIrq >= 0 && Changes(ref _isaAsserted[isaIrq], level))
            Pic.SetInput(isaIrq, level);
        if (Changes(ref _pinAsserted[pin], level))
            IoApic.SetInput(pin, level);
    }

    /// <summary>Counts who asserts an input; true when its level changes.</summary>
    private static bool Changes(ref int asserted, bool level) => level ? asserted++ == 0 : --asserted == 0;
}
