using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// Vector gathers and scatters (SDM vol. 2, VPGATHERDD and the like): one access per active element, in order; a fault
/// leaves the elements before it done and their mask bits cleared, so that the instruction can be started again.
/// </summary>
internal static unsafe class GatherScatter
{
    private static ReadOnlySpan<Mnemonic> Mnemonics =>
    [
        Mnemonic.Vpgatherdd, Mnemonic.Vpgatherdq, Mnemonic.Vpgatherqd, Mnemonic.Vpgatherqq,
        Mnemonic.Vgatherdps, Mnemonic.Vgatherdpd, Mnemonic.Vgatherqps, Mnemonic.Vgatherqpd,
        Mnemonic.Vpscatterdd, Mnemonic.Vpscatterdq, Mnemonic.Vpscatterqd, Mnemonic.Vpscatterqq,
        Mnemonic.Vscatterdps, Mnemonic.Vscatterdpd, Mnemonic.Vscatterqps, Mnemonic.Vscatterqpd,
    ];

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        foreach (Mnemonic mnemonic in Mnemonics)
        {
            table[(int)mnemonic] = &Run;
        }
    }

    private static void Run(SoftwareVcpu cpu, in Instruction insn)
    {
        bool scatter = insn.Op0Kind == OpKind.Memory;
        bool evex = insn.Encoding == EncodingKind.EVEX;
        int data = VectorState.Number(scatter ? insn.Op1Register : insn.Op0Register);
        int index = VectorState.Number(insn.MemoryIndex);
        int mask = evex ? insn.OpMask - Iced.Intel.Register.K0 : VectorState.Number(insn.Op2Register);
        if (!evex && (data == index || data == mask || index == mask))
        {
            throw GuestException.Undefined();
        }

        int elementSize = insn.MemorySize.GetElementSize();
        int indexSize = HasQwordIndex(insn.Mnemonic) ? 8 : 4;
        int dataBytes = (scatter ? insn.Op1Register : insn.Op0Register).GetSize();
        int elements = Math.Min(dataBytes / elementSize, insn.MemoryIndex.GetSize() / indexSize);
        var vectors = new VectorState(cpu);
        Access access = scatter ? Access.Write : Access.Read;
        for (int i = 0; i < elements; i++)
        {
            if (!IsActive(vectors, evex, mask, i, elementSize))
            {
                continue;
            }

            ulong raw = vectors.Read(index, i * indexSize, indexSize);
            long signed = indexSize == 4 ? (int)raw : (long)raw;
            ulong linear = Address(cpu, insn, signed, elementSize, access);
            if (scatter)
            {
                cpu.Store(linear, elementSize, vectors.Read(data, i * elementSize, elementSize));
            }
            else
            {
                vectors.Write(data, i * elementSize, elementSize, cpu.Load(linear, elementSize));
            }

            Deactivate(vectors, evex, mask, i, elementSize);
        }

        if (evex)
        {
            vectors.SetMask(mask, 0);
        }
        else
        {
            vectors.ClearFrom(mask, 0);
        }

        if (!scatter)
        {
            vectors.ClearFrom(data, elements * elementSize);
        }
    }

    private static bool IsActive(VectorState vectors, bool evex, int mask, int element, int size)
        => evex
            ? (vectors.Mask(mask) >> element & 1) != 0
            : (vectors.Read(mask, element * size, size) >> ((size * 8) - 1)) != 0;

    private static void Deactivate(VectorState vectors, bool evex, int mask, int element, int size)
    {
        if (evex)
        {
            vectors.SetMask(mask, vectors.Mask(mask) & ~(1ul << element));
        }
        else
        {
            vectors.Write(mask, element * size, size, 0);
        }
    }

    private static ulong Address(SoftwareVcpu cpu, in Instruction insn, long index, int size, Access access)
    {
        ulong @base = insn.MemoryBase == Iced.Intel.Register.None ? 0 : cpu.ReadRegister(insn.MemoryBase);
        ulong offset = @base + (ulong)(index * insn.MemoryIndexScale) + insn.MemoryDisplacement64;
        bool address64 = cpu.Code64 && (insn.MemoryBase == Iced.Intel.Register.None
            ? insn.MemoryDisplSize == 8
            : insn.MemoryBase.GetSize() == 8);
        return cpu.SegmentedAddress(insn.MemorySegment - Iced.Intel.Register.ES, address64 ? offset : (uint)offset, size, access);
    }

    private static bool HasQwordIndex(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Vpgatherqd or Mnemonic.Vpgatherqq or Mnemonic.Vgatherqps or Mnemonic.Vgatherqpd
        or Mnemonic.Vpscatterqd or Mnemonic.Vpscatterqq or Mnemonic.Vscatterqps or Mnemonic.Vscatterqpd;
}
