namespace Vivarium.Engine;

/// <summary>
/// Why a guest had to wait for the monitor, in terms of what the guest did. A crossing from guest code to the monitor
/// counts once for each thing that the monitor had to do: a privileged instruction that faults is two.
/// </summary>
public enum ExitCause
{
    /// <summary>IN, OUT, INS, OUTS: one for each element that a string form moves.</summary>
    PortIo,

    /// <summary>Registers of devices in memory, except the local APIC's.</summary>
    Mmio,

    /// <summary>The local APIC: its page at FEE00000H, its x2APIC registers (MSRs 800H to 8FFH), CR8.</summary>
    LocalApic,

    /// <summary>RDMSR and WRMSR of all others.</summary>
    Msr,

    /// <summary>CR0 to CR4, DR0 to DR7, XCR0, CLTS, LMSW, SMSW.</summary>
    ControlRegister,

    /// <summary>CPUID.</summary>
    Cpuid,

    /// <summary>RDTSC, RDTSCP, where translated code cannot read the counter itself.</summary>
    Timestamp,

    /// <summary>HLT.</summary>
    Halt,

    /// <summary>VMCALL, VMMCALL.</summary>
    Hypercall,

    /// <summary>SYSCALL and SYSENTER with their returns, IRET, INT n, far jumps, calls and returns.</summary>
    PrivilegeChange,

    /// <summary>Segment registers and bases, descriptor tables.</summary>
    Segment,

    /// <summary>CLI, STI, POPF, STAC and other instructions on flags, where translated code cannot do them itself.</summary>
    Flags,

    /// <summary>MOVS, STOS and other string instructions, where translated code cannot do them itself.</summary>
    StringInstruction,

    /// <summary>Any other instruction that the monitor carries out.</summary>
    OtherInstruction,

    /// <summary>An access to a page that the software TLB does not hold.</summary>
    TlbMiss,

    /// <summary>INVLPG, INVPCID. (Loads of CR3 are <see cref="ControlRegister"/>.)</summary>
    TlbInvalidation,

    /// <summary>An access that a single instruction's careful translation had to make: across two pages, for example.</summary>
    SlowAccess,

    /// <summary>A page fault that the guest is given.</summary>
    PageFault,

    /// <summary>Any other exception that the guest is given.</summary>
    Exception,

    /// <summary>An interrupt, or NMI, that the guest is given.</summary>
    Interrupt,

    /// <summary>A write to code that had been translated.</summary>
    SelfModifyingCode,

    /// <summary>The way to the next piece of translated code had to be found.</summary>
    Dispatch,

    /// <summary>A piece of code had not been translated yet, or not any more.</summary>
    Translation,

    /// <summary>The monitor's own wish: a timer came due, another thread wants something.</summary>
    Kick,
}
