using System.Text.Json;
using Vivarium.Engine;

namespace Vivarium.Cli.Statistics;

/// <summary>What exits are called: for people, and in JSON.</summary>
internal static class CauseNames
{
    /// <summary>All, in the order in which tables show them.</summary>
    public static readonly IReadOnlyList<(ExitCause Cause, string Name)> All =
    [
        (ExitCause.PortIo, "port I/O"),
        (ExitCause.Mmio, "device registers (MMIO)"),
        (ExitCause.LocalApic, "local APIC"),
        (ExitCause.Msr, "MSRs"),
        (ExitCause.ControlRegister, "control registers"),
        (ExitCause.Cpuid, "CPUID"),
        (ExitCause.Timestamp, "RDTSC, RDTSCP"),
        (ExitCause.Halt, "HLT"),
        (ExitCause.Hypercall, "hypercalls"),
        (ExitCause.PrivilegeChange, "SYSCALL, IRET and the like"),
        (ExitCause.Segment, "segments, descriptor tables"),
        (ExitCause.Flags, "CLI, STI, POPF, STAC, ..."),
        (ExitCause.StringInstruction, "string instructions"),
        (ExitCause.OtherInstruction, "other privileged instructions"),
        (ExitCause.TlbMiss, "software TLB misses"),
        (ExitCause.TlbInvalidation, "INVLPG, INVPCID"),
        (ExitCause.SlowAccess, "slow memory accesses"),
        (ExitCause.PageFault, "page faults given to the guest"),
        (ExitCause.Exception, "other exceptions"),
        (ExitCause.Interrupt, "interrupts"),
        (ExitCause.SelfModifyingCode, "code changed by the guest"),
        (ExitCause.Dispatch, "search for translated code"),
        (ExitCause.Translation, "translation"),
        (ExitCause.Kick, "timers and other threads"),
    ];

    /// <summary>The name in JSON: in camel case.</summary>
    public static string Json(ExitCause cause) => JsonNamingPolicy.CamelCase.ConvertName(cause.ToString());
}
