using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>Instructions that 64-bit mode lacks or that are rare: BOUND, XLAT, PUSHA, POPA, ENTER, SALC (SDM vol. 2).</summary>
internal static unsafe class Legacy
{
    private const int Rax = 0, Rsp = 4, Rbp = 5, Ss = 2;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Bound] = &Bound;
        table[(int)Mnemonic.Xlatb] = &Xlat;
        table[(int)Mnemonic.Pusha] = &Pusha;
        table[(int)Mnemonic.Pushad] = &Pusha;
        table[(int)Mnemonic.Popa] = &Popa;
        table[(int)Mnemonic.Popad] = &Popa;
        table[(int)Mnemonic.Enter] = &Enter;
        table[(int)Mnemonic.Salc] = &Salc;
    }

    /// <summary>#BR unless the index is within the two signed bounds in memory.</summary>
    private static void Bound(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = insn.Op0Register.GetSize();
        ulong bounds = cpu.LinearAddress(insn, size * 2, Access.Read);
        long index = SignExtend(cpu.ReadRegister(insn.Op0Register), size);
        long lower = SignExtend(cpu.Load(bounds, size), size);
        long upper = SignExtend(cpu.Load(bounds + (uint)size, size), size);
        if (index < lower || index > upper)
        {
            cpu.Raise(Vector.BoundRange);
        }
    }

    private static void Xlat(SoftwareVcpu cpu, in Instruction insn)
        => cpu.WriteGpr(Rax, 1, cpu.Load(cpu.LinearAddress(insn, 1, Access.Read), 1));

    private static void Pusha(SoftwareVcpu cpu, in Instruction insn)
    {
        const int registers = 8;
        int size = insn.Mnemonic == Mnemonic.Pusha ? 2 : 4;
        ulong top = cpu.S->Gpr[Rsp];
        Span<ulong> slots = stackalloc ulong[registers];
        for (int i = 0; i < registers; i++)
        {
            ulong offset = Truncate(cpu, top - (uint)((i + 1) * size));
            slots[i] = cpu.SegmentedAddress(Ss, offset, size, Access.Write);
            cpu.Probe(slots[i], size, Access.Write);
        }

        // The encoding order, with ESP's value before the first push.
        for (int i = 0; i < registers; i++)
        {
            cpu.Store(slots[i], size, cpu.ReadGpr(i, size));
        }

        cpu.SetStackPointer(top - (uint)(registers * size));
    }

    private static void Popa(SoftwareVcpu cpu, in Instruction insn)
    {
        const int registers = 8;
        int size = insn.Mnemonic == Mnemonic.Popa ? 2 : 4;
        Span<ulong> values = stackalloc ulong[registers];
        for (int i = 0; i < registers; i++)
        {
            values[i] = cpu.PeekStack((uint)(i * size), size);
        }

        for (int i = 0; i < registers; i++)
        {
            int register = registers - 1 - i;
            if (register != Rsp)
            {
                cpu.WriteGpr(register, size, values[i]);
            }
        }

        cpu.ReleaseStack((uint)(registers * size));
    }

    /// <summary>Makes a stack frame; with a nesting level, copies the enclosing frames' pointers. Registers change last.</summary>
    private static void Enter(SoftwareVcpu cpu, in Instruction insn)
    {
        int size = insn.Code switch
        {
            Code.Enterw_imm16_imm8 => 2,
            Code.Enterd_imm16_imm8 => 4,
            _ => 8,
        };
        int level = insn.Immediate8_2nd & 31;
        ulong top = cpu.S->Gpr[Rsp];
        ulong outer = cpu.S->Gpr[Rbp];
        Push(cpu, size, ref top, outer);
        ulong frame = top;
        for (int i = 1; i < level; i++)
        {
            outer -= (uint)size;
            ulong linear = cpu.SegmentedAddress(Ss, Truncate(cpu, outer), size, Access.Read);
            Push(cpu, size, ref top, cpu.Load(linear, size));
        }

        if (level > 0)
        {
            Push(cpu, size, ref top, frame);
        }

        top -= insn.Immediate16;
        cpu.Probe(cpu.SegmentedAddress(Ss, Truncate(cpu, top), size, Access.Write), size, Access.Write);
        cpu.WriteGpr(Rbp, size, frame);
        cpu.SetStackPointer(top);
    }

    private static void Push(SoftwareVcpu cpu, int size, ref ulong top, ulong value)
    {
        top -= (uint)size;
        cpu.Store(cpu.SegmentedAddress(Ss, Truncate(cpu, top), size, Access.Write), size, value);
    }

    /// <summary>An offset as wide as the stack pointer.</summary>
    private static ulong Truncate(SoftwareVcpu cpu, ulong offset) => cpu.StackBits switch
    {
        16 => (ushort)offset,
        32 => (uint)offset,
        _ => offset,
    };

    /// <summary>Undocumented: AL becomes all copies of CF.</summary>
    private static void Salc(SoftwareVcpu cpu, in Instruction insn)
        => cpu.WriteGpr(Rax, 1, (cpu.S->ArithmeticFlags & RflagsBits.Cf) != 0 ? 0xFFu : 0);

    private static long SignExtend(ulong value, int size) => (long)(value << (64 - (size * 8))) >> (64 - (size * 8));
}
