using Iced.Intel;
using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Software;

// Which cause an exit is counted under, where that takes more than a line.
internal sealed unsafe partial class SoftwareVcpu
{
    private const int Rcx = 1;
    private const ulong PageMask = 0xFFF;

    /// <summary>Where every local APIC's registers are unless IA32_APIC_BASE moves them (SDM vol. 3A, 11.4.1).</summary>
    private const ulong LocalApicPage = 0xFEE0_0000;

    /// <summary>The causes that an access of a careful translation may turn out to have.</summary>
    private long CountedInCareful
        => Statistics.Exits(ExitCause.Mmio) + Statistics.Exits(ExitCause.LocalApic) + Statistics.Exits(ExitCause.SelfModifyingCode);

    private void CountTrap(in Instruction instruction)
    {
        ExitCause cause = TrapCauses.Of(instruction, (uint)S->Gpr[Rcx]);
        if (cause != ExitCause.PortIo)
        {
            Statistics.Count(cause);
        }
    }

    /// <summary>A careful translation has run its instruction: its access had another cause, or was just slow.</summary>
    private void CountSlowAccess()
    {
        if (CountedInCareful == _countedBeforeCareful)
        {
            Statistics.Count(ExitCause.SlowAccess);
        }
    }

    private void CountMmio(ulong gpa)
    {
        Statistics.MmioAccesses++;
        Statistics.Count((gpa & ~PageMask) == LocalApicPage ? ExitCause.LocalApic : ExitCause.Mmio);
    }
}
