using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>IN, OUT, INS, OUTS (SDM vol. 2; vol. 1, 19.5: I/O privilege level and permission bitmap).</summary>
internal static unsafe class PortIo
{
    private const int Rax = 0, Rdx = 2, Es = 0;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.In] = &In;
        table[(int)Mnemonic.Out] = &Out;
        table[(int)Mnemonic.Insb] = &Ins;
        table[(int)Mnemonic.Insw] = &Ins;
        table[(int)Mnemonic.Insd] = &Ins;
        table[(int)Mnemonic.Outsb] = &Outs;
        table[(int)Mnemonic.Outsw] = &Outs;
        table[(int)Mnemonic.Outsd] = &Outs;
    }

    private static void In(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = insn.Op0Register.GetSize();
        ushort port = insn.Op1Kind == OpKind.Register ? (ushort)cpu.S->Gpr[Rdx] : insn.Immediate8;
        CheckPermission(cpu, port, size);
        cpu.WriteGpr(Rax, size, Read(cpu, port, size));
    }

    private static void Out(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = insn.Op1Register.GetSize();
        ushort port = insn.Op0Kind == OpKind.Register ? (ushort)cpu.S->Gpr[Rdx] : insn.Immediate8;
        CheckPermission(cpu, port, size);
        Write(cpu, port, size, (uint)cpu.ReadGpr(Rax, size));
    }

    private static void Ins(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = ElementSize(insn.Mnemonic);
        ushort port = (ushort)cpu.S->Gpr[Rdx];
        CheckPermission(cpu, port, size);
        var operands = new StringOperands(cpu, insn, size);
        for (ulong count = operands.Count; count != 0; count = operands.Count)
        {
            var run = StringRun.At(cpu, operands, Es, operands.Destination, count, Access.Write);
            run.Resolve(cpu, operands, Es, Access.Write);
            switch (run.Kind)
            {
                case RunKind.Fault:
                    return;
                case RunKind.Direct when !operands.Backward:
                    Read(cpu, port, size, new Span<byte>(run.Host, (int)run.Elements * size));
                    break;
                default:
                    // Before the port is read: reading it may not be repeatable.
                    run.Elements = 1;
                    cpu.Probe(run.Linear, size, Access.Write);
                    cpu.Store(run.Linear, size, Read(cpu, port, size));
                    break;
            }

            operands.AdvanceDestination(run.Elements);
            operands.CountDown(run.Elements);
            if (!operands.Repeated || operands.MustYield())
            {
                return;
            }
        }
    }

    private static void Outs(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = ElementSize(insn.Mnemonic);
        ushort port = (ushort)cpu.S->Gpr[Rdx];
        CheckPermission(cpu, port, size);
        var operands = new StringOperands(cpu, insn, size);
        while (operands.Count != 0)
        {
            ulong linear = cpu.SegmentedAddress(operands.SourceSegment, operands.Source, size, Access.Read);
            Write(cpu, port, size, (uint)cpu.Load(linear, size));
            operands.AdvanceSource(1);
            operands.CountDown(1);
            if (!operands.Repeated || operands.MustYield())
            {
                return;
            }
        }
    }

    private static uint Read(SoftwareVcpu cpu, ushort port, int size)
    {
        cpu.Statistics.PortAccesses++;
        cpu.Statistics.Count(ExitCause.PortIo);
        return cpu.Bus.ReadPort(port, size);
    }

    private static void Read(SoftwareVcpu cpu, ushort port, int size, Span<byte> elements)
    {
        int count = elements.Length / size;
        cpu.Statistics.PortAccesses += count;
        cpu.Statistics.Count(ExitCause.PortIo, count);
        cpu.Bus.ReadPorts(port, size, elements);
    }

    private static void Write(SoftwareVcpu cpu, ushort port, int size, uint value)
    {
        cpu.Statistics.PortAccesses++;
        cpu.Statistics.Count(ExitCause.PortIo);
        cpu.Bus.WritePort(port, size, value);
    }

    private static int ElementSize(Mnemonic mnemonic) => mnemonic switch
    {
        Mnemonic.Insb or Mnemonic.Outsb => 1,
        Mnemonic.Insw or Mnemonic.Outsw => 2,
        _ => 4,
    };

    /// <summary>Real mode may; protected mode within IOPL may; else, and always in virtual-8086 mode, the TSS's bitmap must have a 0 for each byte of the port.</summary>
    private static void CheckPermission(SoftwareVcpu cpu, ushort port, int size)
    {
        NativeState* s = cpu.S;
        if (!cpu.ProtectedMode)
        {
            return;
        }

        ulong iopl = (s->SystemFlags & RflagsBits.Iopl) >> RflagsBits.IoplShift;
        if (!cpu.Virtual8086 && (uint)cpu.Cpl <= iopl)
        {
            return;
        }

        const uint available32BitTss = 9, busy32BitTss = 11, minimumLimit = 0x67, bitmapOffsetField = 0x66;
        if ((s->Tr.Attributes & (SegmentRegister.Present | SegmentRegister.Unusable)) != SegmentRegister.Present
            || (s->Tr.Attributes & SegmentRegister.TypeMask) is not (available32BitTss or busy32BitTss)
            || s->Tr.Limit < minimumLimit)
        {
            throw GuestException.Protection();
        }

        // Two bytes are read always: a port's bits may cross a byte.
        uint offset = (uint)cpu.LoadSystem(s->Tr.Base + bitmapOffsetField, 2) + (uint)(port >> 3);
        if (offset + 1 > s->Tr.Limit)
        {
            throw GuestException.Protection();
        }

        uint bits = (uint)cpu.LoadSystem(s->Tr.Base + offset, 2) >> (port & 7);
        if ((bits & ((1u << size) - 1)) != 0)
        {
            throw GuestException.Protection();
        }
    }
}
