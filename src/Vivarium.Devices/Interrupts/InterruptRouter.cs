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

    /// <summary>The 8259's cascade input: no device can use it.</summary>
    public const int CascadeIrq = 2;

    /// <summary>Where ISA IRQ 0 arrives at the I/O APIC.</summary>
    public const int TimerPin = 2;

    private readonly int[] _isaAsserted = new int[IsaIrqs];
    private readonly int[] _pinAsserted = new int[IoApic.Pins];

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
    /// A line to one of the four PCI interrupts: to I/O APIC pin 16 + <paramref name="line"/>, and to the 8259 as IRQ 10 or
    /// 11, which firmware makes level-triggered.
    /// </summary>
    public InterruptLine CreatePciLine(int line)
    {
        if (line is < 0 or > 3)
            throw new ArgumentOutOfRangeException(nameof(line), line, "There is no such PCI interrupt.");
        var irq = PciIrq(line);
        Pic.SetLevelTriggered(irq);
        return new InterruptLine(this, irq, IsaIrqs + line);
    }

    /// <summary>The 8259's input for a PCI interrupt line.</summary>
    internal static int PciIrq(int line) => line < 2 ? 10 : 11;

    internal void Drive(int isaIrq, int pin, bool level)
    {
        if (isaIrq >= 0 && Changes(ref _isaAsserted[isaIrq], level))
            Pic.SetInput(isaIrq, level);
        if (Changes(ref _pinAsserted[pin], level))
            IoApic.SetInput(pin, level);
    }

    /// <summary>Counts who asserts an input; true when its level changes.</summary>
    private static bool Changes(ref int asserted, bool level) => level ? asserted++ == 0 : --asserted == 0;
}
