using Iced.Intel;

namespace Vivarium.Oracle.Generate;

/// <summary>Every instruction form that Iced lists: either compared, or left out with a reason.</summary>
internal sealed class FormCatalog
{
    private FormCatalog(List<Code> forms, SortedDictionary<string, List<Code>> leftOut)
    {
        Forms = forms;
        LeftOut = leftOut;
    }

    public List<Code> Forms { get; }

    public SortedDictionary<string, List<Code>> LeftOut { get; }

    /// <summary>The forms of 64-bit mode, or of 32-bit or 16-bit code segments.</summary>
    /// <param name="bitness">64, 32 or 16.</param>
    /// <param name="evex">With those of AVX-512's encoding.</param>
    public static FormCatalog For(int bitness, bool evex = true)
    {
        var forms = new List<Code>();
        var leftOut = new SortedDictionary<string, List<Code>>(StringComparer.Ordinal);
        foreach (Code form in Enum.GetValues<Code>())
        {
            OpCodeInfo info = form.ToOpCode();
            if (!info.IsInstruction)
            {
                continue;
            }

            string? why = !evex && info.Encoding == EncodingKind.EVEX ? "left to tests/oracle-long on this host" : Reason(form, info, bitness);
            if (why is not { } reason)
            {
                forms.Add(form);
                continue;
            }

            if (!leftOut.TryGetValue(reason, out List<Code>? list))
            {
                leftOut[reason] = list = [];
            }

            list.Add(form);
        }

        return new FormCatalog(forms, leftOut);
    }

    private static string? Reason(Code form, OpCodeInfo info, int bitness)
    {
        if (!(bitness switch { 64 => info.Mode64, 32 => info.Mode32, _ => info.Mode16 }))
        {
            return $"{bitness}-bit mode does not encode it";
        }

        if (info.MustBeCpl0 || info.IsPrivileged && !IsTrapped3(form))
        {
            return "privileged";
        }

        if (info.IsInputOutput)
        {
            return "port I/O";
        }

        for (int operand = 0; operand < info.OpCount; operand++)
        {
            switch (info.GetOpKind(operand))
            {
                case OpCodeOperandKind.br16_1 or OpCodeOperandKind.br16_2 when bitness != 16:
                    return "near branch with 16-bit operand size: vendors differ, or EIP is cut to 16 bits";
                case OpCodeOperandKind.farbr2_2 or OpCodeOperandKind.farbr4_2:
                    return "far transfer";
                case OpCodeOperandKind.cr_reg or OpCodeOperandKind.dr_reg or OpCodeOperandKind.tr_reg:
                    return "privileged";
                case OpCodeOperandKind.bnd_reg or OpCodeOperandKind.bnd_or_mem_mpx:
                    return "the host lacks MPX";
                case OpCodeOperandKind.fs or OpCodeOperandKind.gs:
                    return "loads or stores FS or GS (the host's thread pointer)";
                case OpCodeOperandKind.seg_reg when operand == 0:
                case OpCodeOperandKind.es or OpCodeOperandKind.ss or OpCodeOperandKind.ds when form.Mnemonic() == Mnemonic.Pop:
                    return "loads a segment register (descriptor tables are the host kernel's)";
            }
        }

        string? reason = form.Mnemonic() switch
        {
            Mnemonic.Rdtsc or Mnemonic.Rdtscp or Mnemonic.Rdrand or Mnemonic.Rdseed or Mnemonic.Cpuid or Mnemonic.Rdpid
                or Mnemonic.Xgetbv or Mnemonic.Rdpmc or Mnemonic.Rdpru => "its result belongs to the processor, not to the case",
            Mnemonic.Sgdt or Mnemonic.Sidt or Mnemonic.Sldt or Mnemonic.Str or Mnemonic.Smsw or Mnemonic.Lar or Mnemonic.Lsl
                or Mnemonic.Verr or Mnemonic.Verw => "reads system registers or descriptor tables",
            Mnemonic.Lfs or Mnemonic.Lgs or Mnemonic.Lss or Mnemonic.Lds or Mnemonic.Les => "loads a segment register (descriptor tables are the host kernel's)",
            Mnemonic.Int or Mnemonic.Int1 or Mnemonic.Int3 or Mnemonic.Into or Mnemonic.Syscall or Mnemonic.Sysenter
                or Mnemonic.Sysret or Mnemonic.Sysexit or Mnemonic.Sysexitq or Mnemonic.Sysretq => "enters the kernel",
            Mnemonic.Iret or Mnemonic.Iretd or Mnemonic.Iretq or Mnemonic.Retf => "far transfer",
            Mnemonic.Call or Mnemonic.Jmp when IsFar(form) => "far transfer",
            Mnemonic.Jmp or Mnemonic.Call or Mnemonic.Ret when info.OperandSize == 16 && bitness != 16 => "near branch with 16-bit operand size: vendors differ, or EIP is cut to 16 bits",
            Mnemonic.Jmpe => "the host lacks IA64",
            Mnemonic.Rdfsbase or Mnemonic.Wrfsbase => "loads or stores FS or GS (the host's thread pointer)",
            Mnemonic.Vmcall or Mnemonic.Vmmcall or Mnemonic.Monitor or Mnemonic.Mwait or Mnemonic.Monitorx or Mnemonic.Mwaitx
                or Mnemonic.Vmfunc => "leaves for the monitor",
            Mnemonic.Xsave or Mnemonic.Xsave64 or Mnemonic.Xsavec or Mnemonic.Xsavec64 or Mnemonic.Xsaveopt or Mnemonic.Xsaveopt64
                or Mnemonic.Xrstor or Mnemonic.Xrstor64 => "its image depends on which components the processor tracks as in use",
            Mnemonic.Clzero or Mnemonic.Movdir64b or Mnemonic.Mcommit or Mnemonic.Rdpkru or Mnemonic.Wrpkru => "no CPU model has it",
            Mnemonic.Movsxd when info.OperandSize == 16 => "vendors differ in how much it reads",
            Mnemonic.Ud0 or Mnemonic.Ud1 => "vendors differ in its length",
            _ => info.IsReservedNop ? "reserved NOP space" : null,
        };
        if (reason is not null)
        {
            return reason;
        }

        if (HostFeatures.Missing(form) is { } feature)
        {
            return $"the host lacks {feature}";
        }

        if (info.Fwait)
        {
            return "FWAIT and another form";
        }

        return null;
    }

    /// <summary>Sensitive to IOPL only: at CPL 3 it raises #GP, on the host as well.</summary>
    private static bool IsTrapped3(Code form) => form.Mnemonic() is Mnemonic.Cli or Mnemonic.Sti;

    private static bool IsFar(Code form)
        => new Instruction { Code = form } is { } instruction && (instruction.IsCallFar || instruction.IsCallFarIndirect || instruction.IsJmpFar || instruction.IsJmpFarIndirect);
}
