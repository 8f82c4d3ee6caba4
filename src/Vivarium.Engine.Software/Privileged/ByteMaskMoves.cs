using Iced.Intel;
using Vivarium.Engine.Software.Decode;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>MASKMOVQ, MASKMOVDQU and VMASKMOVDQU: stores of selected bytes to DS:rDI (SDM vol. 2). Bytes not selected are not touched.</summary>
internal static unsafe class ByteMaskMoves
{
    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Maskmovq] = &Run;
        table[(int)Mnemonic.Maskmovdqu] = &Run;
        table[(int)Mnemonic.Vmaskmovdqu] = &Run;
    }

    private static void Run(SoftwareVcpu cpu, in Instruction insn)
    {
        bool mmx = insn.Mnemonic == Mnemonic.Maskmovq;
        int length = mmx ? 8 : 16;
        Span<byte> data = stackalloc byte[16];
        Span<byte> mask = stackalloc byte[16];
        if (mmx)
        {
            cpu.CheckPendingX87();
            new VectorState(cpu).EnterMmx();
        }

        Read(cpu, insn.Op1Register, mmx, data);
        Read(cpu, insn.Op2Register, mmx, mask);
        int addressSize = insn.Op0Kind switch
        {
            OpKind.MemorySegDI => 2,
            OpKind.MemorySegEDI => 4,
            _ => 8,
        };

        ulong offset = cpu.ReadGpr(7, addressSize);
        int segment = OperandSegment.Of(insn, cpu.Code64);
        if (!cpu.Code64)
        {
            // The segment is checked whatever the mask selects.
            cpu.SegmentedAddress(segment, offset, length, Access.Write);
        }

        for (int pass = 0; pass < 2; pass++)
        {
            for (int i = 0; i < length; i++)
            {
                if ((mask[i] & 0x80) == 0)
                {
                    continue;
                }

                ulong linear = cpu.SegmentedAddress(segment, offset + (ulong)i, 1, Access.Write);
                if (pass == 0)
                {
                    cpu.Probe(linear, 1, Access.Write);
                }
                else
                {
                    cpu.Store(linear, 1, data[i]);
                }
            }
        }
    }

    private static void Read(SoftwareVcpu cpu, Register register, bool mmx, Span<byte> to)
    {
        var vectors = new VectorState(cpu);
        if (mmx)
        {
            BitConverter.TryWriteBytes(to, vectors.Mmx(register - Iced.Intel.Register.MM0));
            return;
        }

        int number = VectorState.Number(register);
        BitConverter.TryWriteBytes(to, vectors.Read(number, 0, 8));
        BitConverter.TryWriteBytes(to[8..], vectors.Read(number, 8, 8));
    }
}
