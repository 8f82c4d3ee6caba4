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
        int pointer = GuestStack.PointerSize(cpu);
        ulong top = cpu.S->Gpr[Rsp];
        Span<ulong> slots = stackalloc ulong[registers];
        for (int i = 0; i < registers; i++)
        {
            ulong offset = GuestStack.Truncate(top - (uint)((i + 1) * size), pointer);
            slots[i] = cpu.SegmentedAddress(Ss, offset, size, Access.Write);
            cpu.Probe(slots[i], size, Access.Write);
        }

        // The encoding order, with ESP's value before the first push.
        for (int i = 0; i < registers; i++)
        {
            cpu.Store(slots[i], size, cpu.ReadGpr(i, size));
        }

        cpu.WriteGpr(Rsp, pointer, top - (uint)(registers * size));
    }

    private static void Popa(SoftwareVcpu cpu, in Instruction insn)
    {
        const int registers = 8;
        int size = insn.Mnemonic == Mnemonic.Popa ? 2 : 4;
        Span<ulong> values = stackalloc ulong[registers];
        for (int i = 0; i < registers; i++)
        {
            values[i] = GuestStack.Peek(cpu, size, i * size);
        }

        for (int i = 0; i < registers; i++)
        {
            int register = registers - 1 - i;
            if (register != Rsp)
            {
                cpu.WriteGpr(register, size, values[i]);
            }
        }

        GuestStack.Drop(cpu, registers * size);
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
        int pointer = GuestStack.PointerSize(cpu);
        int level = insn.Immediate8_2nd & 31;
        ulong top = cpu.S->Gpr[Rsp];
        ulong outer = cpu.S->Gpr[Rbp];
        Push(cpu, size, pointer, ref top, outer);
        ulong frame = top;
        for (int i = 1; i < level; i++)
        {
            outer -= (uint)size;
            ulong linear = cpu.SegmentedAddress(Ss, GuestStack.Truncate(outer, pointer), size, Access.Read);
            Push(cpu, size, pointer, ref top, cpu.Load(linear, size));
        }

        if (level > 0)
        {
            Push(cpu, size, pointer, ref top, frame);
        }

        top -= insn.Immediate16;
        cpu.Probe(cpu.SegmentedAddress(Ss, GuestStack.Truncate(top, pointer), size, Access.Write), size, Access.Write);
        cpu.WriteGpr(Rbp, size, frame);
        cpu.WriteGpr(Rsp, pointer, top);
    }

    private static void Push(SoftwareVcpu cpu, int size, int pointer, ref ulong top, ulong value)
    {
        top -= (uint)size;
        cpu.Store(cpu.SegmentedAddress(Ss, GuestStack.Truncate(top, pointer), size, Access.Write), size, value);
    }

    /// <summary>Undocumented: AL becomes all copies of CF.</summary>
    private static void Salc(SoftwareVcpu cpu, in Instruction insn)
        => cpu.WriteGpr(Rax, 1, (cpu.S->ArithmeticFlags & RflagsBits.Cf) != 0 ? 0xFFu : 0);

    private static long SignExtend(ulong value, int size) => (long)(value << (64 - (size * 8))) >> (64 - (size * 8));
}
