using Iced.Intel;
using Vivarium.Engine.Software.Decode;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>What the string instructions share: their registers, address size, direction and repeat prefix (SDM vol. 1, 7.3.9).</summary>
internal readonly unsafe ref struct StringOperands
{
    private const int Rcx = 1, Rsi = 6, Rdi = 7;

    private const ulong BreakpointsEnabled = 0xFF;

    private readonly SoftwareVcpu _cpu;

    public StringOperands(SoftwareVcpu cpu, in Instruction insn, int elementSize)
    {
        _cpu = cpu;
        ElementSize = elementSize;
        AddressSize = AddressSizeOf(insn);
        SourceSegment = insn.MemorySegment is >= Register.ES and <= Register.GS ? OperandSegment.Of(insn, cpu.Code64) : OperandSegment.Ds;
        Repeated = insn.HasRepPrefix || insn.HasRepnePrefix;
        Backward = (cpu.S->SystemFlags & RflagsBits.Df) != 0;
    }

    public int ElementSize { get; }

    /// <summary>Bytes of the index and count registers: 2, 4 or 8.</summary>
    public int AddressSize { get; }

    public int SourceSegment { get; }

    public bool Repeated { get; }

    public bool Backward { get; }

    /// <summary>Breakpoints are enabled: each element's addresses must be compared with them.</summary>
    public bool Watched => (_cpu.S->Dr[7] & BreakpointsEnabled) != 0;

    /// <summary>Every iteration must be seen by itself.</summary>
    public bool OneAtATime => _cpu.Stepping;

    public ulong Count => Repeated ? _cpu.ReadGpr(Rcx, AddressSize) : 1;

    public ulong Source => _cpu.ReadGpr(Rsi, AddressSize);

    public ulong Destination => _cpu.ReadGpr(Rdi, AddressSize);

    public void AdvanceSource(ulong elements) => Advance(Rsi, elements);

    public void AdvanceDestination(ulong elements) => Advance(Rdi, elements);

    public void CountDown(ulong elements)
    {
        if (Repeated)
        {
            _cpu.WriteGpr(Rcx, AddressSize, _cpu.ReadGpr(Rcx, AddressSize) - elements);
        }
    }

    /// <summary>
    /// Between two iterations: if the vCPU is wanted elsewhere, or a debug trap is due, and there is more to do, leaves with
    /// the RIP at the instruction, whose registers say where to go on.
    /// </summary>
    public bool MustYield()
    {
        if ((_cpu.S->ExitRequest == 0 && !_cpu.Stepping && !_cpu.MetWatchpoint) || Count == 0)
        {
            return false;
        }

        // So that an instruction breakpoint is not met again (SDM vol. 3B, 17.3.1.1).
        _cpu.S->SystemFlags |= RflagsBits.Rf;

        _cpu.NextRip = _cpu.S->Rip;
        return true;
    }

    private void Advance(int register, ulong elements)
    {
        ulong bytes = elements * (uint)ElementSize;
        _cpu.WriteGpr(register, AddressSize, _cpu.S->Gpr[register] + (Backward ? 0 - bytes : bytes));
    }

    private static int AddressSizeOf(in Instruction insn)
    {
        for (int i = 0; i < insn.OpCount; i++)
        {
            switch (insn.GetOpKind(i))
            {
                case OpKind.MemorySegSI or OpKind.MemoryESDI:
                    return 2;
                case OpKind.MemorySegESI or OpKind.MemoryESEDI:
                    return 4;
                case OpKind.MemorySegRSI or OpKind.MemoryESRDI:
                    return 8;
                default:
                    break;
            }
        }

        throw new ArgumentException("Not a string instruction.", nameof(insn));
    }
}
