namespace Vivarium.Devices.Tests;

/// <summary>A clock under manual control, the interrupt wiring and one processor's local APIC, on real buses.</summary>
internal sealed class Board : ILocalApicEvents
{
    public const long Microsecond = 1_000;
    public const long Millisecond = 1_000_000;
    public const long Second = 1_000_000_000;

    public Board(int processors = 1)
    {
        Clock = new MachineClock(Time);
        Clock.Resume();
        Apic = new LocalApic(0, Interrupts.Apics, Clock) { Events = this };
        for (uint id = 1; id < processors; id++)
            Others.Add(new LocalApic(id, Interrupts.Apics, Clock));
        Interrupts.Pic.Map(Ports);
        Interrupts.IoApic.Map(Mmio);
    }

    public ManualTime Time { get; } = new();

    public MachineClock Clock { get; }

    public InterruptRouter Interrupts { get; } = new();

    public PortBus Ports { get; } = new();

    public MmioBus Mmio { get; } = new();

    public LocalApic Apic { get; }

    public List<LocalApic> Others { get; } = [];

    public int Requests { get; private set; }

    public int Nmis { get; private set; }

    public int Inits { get; private set; }

    public List<byte> Startups { get; } = [];

    void ILocalApicEvents.InterruptRequested() => Requests++;

    void ILocalApicEvents.NmiRequested() => Nmis++;

    void ILocalApicEvents.InitRequested()
    {
        Inits++;
        Apic.Initialize();
    }

    void ILocalApicEvents.StartupRequested(byte vector) => Startups.Add(vector);

    /// <summary>The earliest deadline of the board and all processors.</summary>
    public long NextDeadline => Others.Aggregate(Math.Min(Clock.Deadlines.NextDeadline, Apic.Deadlines.NextDeadline), (least, apic) => Math.Min(least, apic.Deadlines.NextDeadline));

    /// <summary>Lets time pass in one step, then runs what is due.</summary>
    public void Pass(long nanoseconds)
    {
        Time.Nanoseconds += nanoseconds;
        Clock.Deadlines.RunDue();
        Apic.Deadlines.RunDue();
        foreach (var other in Others)
            other.Deadlines.RunDue();
    }

    /// <summary>Lets time pass from deadline to deadline, as a punctual timer thread would.</summary>
    public void Run(long nanoseconds)
    {
        var end = Clock.Nanoseconds + nanoseconds;
        while (NextDeadline <= end)
            Pass(Math.Max(0, NextDeadline - Clock.Nanoseconds));
        Pass(end - Clock.Nanoseconds);
    }

    public byte In(ushort port) => (byte)Ports.Read(port, 1);

    public void Out(ushort port, byte value) => Ports.Write(port, 1, value);

    public uint ReadApic(ulong offset) => (uint)Apic.ReadMmio(offset, 4);

    public void WriteApic(ulong offset, uint value) => Apic.WriteMmio(offset, 4, value);

    /// <summary>Software-enables the local APIC with spurious vector FFH.</summary>
    public void EnableApic() => WriteApic(0xF0, 0x1FF);

    public void EndOfInterrupt() => WriteApic(0xB0, 0);

    public uint ReadIoApic(byte register)
    {
        Mmio.Write(IoApic.DefaultAddress, 4, register);
        return (uint)Mmio.Read(IoApic.DefaultAddress + 0x10, 4);
    }

    public void WriteIoApic(byte register, uint value)
    {
        Mmio.Write(IoApic.DefaultAddress, 4, register);
        Mmio.Write(IoApic.DefaultAddress + 0x10, 4, value);
    }

    /// <summary>Routes an I/O APIC pin to APIC ID 0.</summary>
    public void Redirect(int pin, uint low)
    {
        WriteIoApic((byte)(0x11 + 2 * pin), 0);
        WriteIoApic((byte)(0x10 + 2 * pin), low);
    }

    /// <summary>Programs the 8259 pair as PCs do, with vectors from 20H and nothing masked.</summary>
    public void InitializePic(byte masterMask = 0, byte slaveMask = 0)
    {
        Out(0x20, 0x11);
        Out(0x21, 0x20);
        Out(0x21, 0x04);
        Out(0x21, 0x01);
        Out(0xA0, 0x11);
        Out(0xA1, 0x28);
        Out(0xA1, 0x02);
        Out(0xA1, 0x01);
        Out(0x21, masterMask);
        Out(0xA1, slaveMask);
        Apic.EnterVirtualWireMode();
    }
}
