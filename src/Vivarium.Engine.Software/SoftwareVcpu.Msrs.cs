using Vivarium.Engine.Software.Privileged;

namespace Vivarium.Engine.Software;

// The model-specific registers that instruction families use directly; RDMSR and WRMSR reach them through these fields.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>STAR: selectors of SYSCALL and SYSRET, and SYSCALL's legacy-mode EIP (APM vol. 2, 6.1.1).</summary>
    public ulong Star
    {
        get => S->Star;
        set
        {
            S->Star = value;
            Syscalls.MakeSegments(S);
        }
    }

    /// <summary>LSTAR: RIP of SYSCALL from 64-bit mode.</summary>
    public ref ulong Lstar => ref S->Lstar;

    /// <summary>CSTAR: RIP of SYSCALL from compatibility mode.</summary>
    public ulong Cstar;

    /// <summary>SFMASK (IA32_FMASK): the RFLAGS bits that SYSCALL clears.</summary>
    public ref ulong SyscallMask => ref S->SyscallMask;

    /// <summary>IA32_SYSENTER_CS (SDM vol. 3A, 5.8.7).</summary>
    public ulong SysenterCs;

    /// <summary>IA32_SYSENTER_ESP.</summary>
    public ulong SysenterEsp;

    /// <summary>IA32_SYSENTER_EIP.</summary>
    public ulong SysenterEip;

    /// <summary>KernelGSBase: what SWAPGS exchanges with GS.base.</summary>
    public ref ulong KernelGsBase => ref S->KernelGsBase;

    /// <summary>IA32_TSC_AUX: what RDTSCP and RDPID return beside the time.</summary>
    public ref ulong TscAux => ref S->TscAux;
}
