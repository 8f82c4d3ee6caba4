using Iced.Intel;
using Vivarium.Engine.Software.Decode;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>What an emulated instruction counts as: a table by mnemonic, beside <see cref="PrivilegedTable"/>.</summary>
internal static class TrapCauses
{
    private const uint FirstX2ApicMsr = 0x800;
    private const uint X2ApicMsrs = 0x100;

    private static readonly ExitCause[] s_causes = Build();

    /// <param name="instruction">The instruction.</param>
    /// <param name="ecx">Which MSR, if it is RDMSR or WRMSR.</param>
    public static ExitCause Of(in Instruction instruction, uint ecx)
    {
        ExitCause cause = s_causes[(int)instruction.Mnemonic];
        return cause switch
        {
            ExitCause.Msr when ecx - FirstX2ApicMsr < X2ApicMsrs => ExitCause.LocalApic,
            ExitCause.Segment when instruction.Mnemonic == Mnemonic.Mov => OfMove(instruction.Op0Register, instruction.Op1Register),
            _ => cause,
        };
    }

    private static ExitCause OfMove(Register target, Register source)
        => target == Register.CR8 || source == Register.CR8 ? ExitCause.LocalApic
            : target.IsSegmentRegister() || source.IsSegmentRegister() ? ExitCause.Segment
            : ExitCause.ControlRegister;

    private static ExitCause[] Build()
    {
        var causes = new ExitCause[FormCounts.Mnemonics];
        Array.Fill(causes, ExitCause.OtherInstruction);
        void Set(ExitCause cause, params ReadOnlySpan<Mnemonic> mnemonics)
        {
            foreach (Mnemonic mnemonic in mnemonics)
            {
                causes[(int)mnemonic] = cause;
            }
        }

        // Not counted by the instruction but where the port is accessed: a string form has many accesses.
        Set(ExitCause.PortIo, Mnemonic.In, Mnemonic.Out, Mnemonic.Insb, Mnemonic.Insw, Mnemonic.Insd, Mnemonic.Outsb, Mnemonic.Outsw, Mnemonic.Outsd);
        Set(ExitCause.Msr, Mnemonic.Rdmsr, Mnemonic.Wrmsr);
        Set(ExitCause.ControlRegister, Mnemonic.Clts, Mnemonic.Lmsw, Mnemonic.Smsw, Mnemonic.Xsetbv, Mnemonic.Xgetbv);
        Set(ExitCause.Cpuid, Mnemonic.Cpuid);
        Set(ExitCause.Timestamp, Mnemonic.Rdtsc, Mnemonic.Rdtscp);
        Set(ExitCause.Halt, Mnemonic.Hlt);
        Set(ExitCause.Hypercall, Mnemonic.Vmcall, Mnemonic.Vmmcall);
        Set(
            ExitCause.PrivilegeChange,
            Mnemonic.Syscall, Mnemonic.Sysret, Mnemonic.Sysretq, Mnemonic.Sysenter, Mnemonic.Sysexit, Mnemonic.Sysexitq,
            Mnemonic.Iret, Mnemonic.Iretd, Mnemonic.Iretq, Mnemonic.Int, Mnemonic.Int1, Mnemonic.Int3, Mnemonic.Into,
            Mnemonic.Jmp, Mnemonic.Call, Mnemonic.Retf);
        Set(
            ExitCause.Segment,
            Mnemonic.Mov, Mnemonic.Push, Mnemonic.Pop, Mnemonic.Lds, Mnemonic.Les, Mnemonic.Lfs, Mnemonic.Lgs, Mnemonic.Lss,
            Mnemonic.Swapgs, Mnemonic.Rdfsbase, Mnemonic.Rdgsbase, Mnemonic.Wrfsbase, Mnemonic.Wrgsbase,
            Mnemonic.Lgdt, Mnemonic.Lidt, Mnemonic.Sgdt, Mnemonic.Sidt, Mnemonic.Lldt, Mnemonic.Sldt, Mnemonic.Ltr, Mnemonic.Str,
            Mnemonic.Lar, Mnemonic.Lsl, Mnemonic.Verr, Mnemonic.Verw, Mnemonic.Arpl);
        Set(
            ExitCause.Flags,
            Mnemonic.Cli, Mnemonic.Sti, Mnemonic.Pushf, Mnemonic.Pushfd, Mnemonic.Pushfq, Mnemonic.Popf, Mnemonic.Popfd, Mnemonic.Popfq,
            Mnemonic.Stac, Mnemonic.Clac, Mnemonic.Cld, Mnemonic.Std);
        Set(
            ExitCause.StringInstruction,
            Mnemonic.Movsb, Mnemonic.Movsw, Mnemonic.Movsd, Mnemonic.Movsq, Mnemonic.Stosb, Mnemonic.Stosw, Mnemonic.Stosd, Mnemonic.Stosq,
            Mnemonic.Lodsb, Mnemonic.Lodsw, Mnemonic.Lodsd, Mnemonic.Lodsq, Mnemonic.Cmpsb, Mnemonic.Cmpsw, Mnemonic.Cmpsd, Mnemonic.Cmpsq,
            Mnemonic.Scasb, Mnemonic.Scasw, Mnemonic.Scasd, Mnemonic.Scasq);
        Set(ExitCause.TlbInvalidation, Mnemonic.Invlpg, Mnemonic.Invpcid);
        return causes;
    }
}
