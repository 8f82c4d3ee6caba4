namespace Vivarium.Engine.Tracing;

/// <summary>What a trace is to tell.</summary>
[Flags]
public enum TraceKinds
{
    None = 0,

    /// <summary>Why the guest had to wait for the monitor: everything that <see cref="ExitCause"/> counts.</summary>
    Exits = 1 << 0,

    /// <summary>Interrupts and NMIs that the guest is given.</summary>
    Irq = 1 << 1,

    /// <summary>Reads and writes of devices' registers in memory, those of the local APIC among them.</summary>
    Mmio = 1 << 2,

    /// <summary>IN, OUT and their string forms: each element.</summary>
    Pio = 1 << 3,

    /// <summary>RDMSR and WRMSR.</summary>
    Msr = 1 << 4,
}
