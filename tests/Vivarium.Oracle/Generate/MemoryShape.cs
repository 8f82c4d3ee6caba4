using Iced.Intel;

namespace Vivarium.Oracle.Generate;

/// <summary>What a case knows about the registers that its addresses are made of.</summary>
internal struct AddressContext(bool sequence, int bitness)
{
    public readonly int Bitness = bitness;

    /// <summary>Bit per general register: its value when the instruction runs is the one in the input state.</summary>
    public uint Known;

    /// <summary>In a sequence only known registers may form addresses, and targets avoid faults.</summary>
    public readonly bool Sequence = sequence;

    /// <summary>Registers that may not form the address.</summary>
    public uint Avoid;

    public bool GsKnown;

    /// <summary>Base of the data and stack segments.</summary>
    public readonly ulong DataSegmentBase => Bitness == 16 ? CaseWindow.DataBase : 0;
}

/// <summary>Builds memory operands in every shape so that they hit a chosen linear address.</summary>
internal static unsafe class MemoryShape
{
    /// <summary>Sets the memory operand of <paramref name="instruction"/> so that it addresses <paramref name="target"/>; fixes register values as needed. False: try again.</summary>
    public static bool TryAddress(ref Rng random, ref Instruction instruction, ulong target, CaseState* state, ref AddressContext context)
    {
        ulong segmentBase = context.DataSegmentBase;
        if (context.Bitness == 16 && random.Chance(75))
        {
            if (random.Chance(10))
            {
                instruction.SegmentPrefix = random.Pick<Register>([Register.ES, Register.SS, Register.DS]);
            }

            return TryAddress16(ref random, ref instruction, (ushort)(target - segmentBase), state, ref context);
        }

        bool address32 = context.Bitness != 64 || random.Chance(8);
        bool fs = false;
        int segment = random.Below(100);
        if (segment < 8 && context.Bitness == 64)
        {
            instruction.SegmentPrefix = Register.GS;
            if (!context.GsKnown)
            {
                context.GsKnown = true;
                state->GsBase = address32 || random.Chance(50) ? target - (uint)random.Next() : random.Chance(50) ? target - (ulong)random.Between(-4096, 4096) : RandomCanonical(ref random);
            }

            segmentBase = state->GsBase;
            if ((long)(segmentBase << 16) >> 16 != (long)segmentBase)
            {
                return false;
            }
        }
        else if (segment < 12 && !context.Sequence && context.Bitness == 64)
        {
            instruction.SegmentPrefix = Register.FS;
            segmentBase = state->FsBase;
            address32 = false;
            fs = true;
        }
        else if (segment < 15)
        {
            // Outside 64-bit mode a store through CS faults: not in a program that should come to its end.
            instruction.SegmentPrefix = random.Pick<Register>((context.Sequence && context.Bitness == 32) || context.Bitness == 16
                ? [Register.ES, Register.SS, Register.DS]
                : [Register.ES, Register.CS, Register.SS, Register.DS]);
        }

        ulong effective = target - segmentBase;
        if (context.Bitness == 16)
        {
            effective = (uint)effective;
        }

        if (address32 && effective > uint.MaxValue)
        {
            return false;
        }

        bool reachable = address32 || (long)effective == (int)effective;
        switch (random.Below(20))
        {
            case < 2 when !fs && context.Bitness == 64 && (address32 || effective < 0x8000_0000):
                instruction.MemoryBase = address32 ? Register.EIP : Register.RIP;
                instruction.MemoryDisplacement64 = effective;
                instruction.MemoryDisplSize = address32 ? 4 : 8;
                return true;
            case 2 when reachable:
                instruction.MemoryDisplacement64 = effective;
                instruction.MemoryDisplSize = address32 ? 4 : 8;
                return true;
            case 3 or 4 when reachable:
                return WithoutBase(ref random, ref instruction, effective, address32, state, ref context);
            case < 12:
                return WithBase(ref random, ref instruction, effective, address32, useIndex: false, state, ref context);
            default:
                return WithBase(ref random, ref instruction, effective, address32, useIndex: true, state, ref context);
        }
    }

    /// <summary>The addresses of SDM vol. 2A, table 2-1.</summary>
    private static bool TryAddress16(ref Rng random, ref Instruction instruction, ushort effective, CaseState* state, ref AddressContext context)
    {
        const int bx = 3, bp = 5, si = 6, di = 7, none = -1;
        (int first, int second) = random.Pick<(int, int)>(
            [(bx, si), (bx, di), (bp, si), (bp, di), (si, none), (di, none), (bp, none), (bx, none), (none, none)]);
        int open = none;
        ushort sum = 0;
        ReadOnlySpan<int> registers = [first, second];
        foreach (int register in registers)
        {
            if (register == none)
            {
                continue;
            }

            bool known = (context.Known & (1u << register)) != 0;
            if ((!known && context.Sequence) || (context.Avoid & (1u << register)) != 0)
            {
                return false;
            }

            if (!known && open == none)
            {
                open = register;
                continue;
            }

            context.Known |= 1u << register;
            sum += (ushort)state->Gpr[register];
        }

        int size = first == none ? 2 : random.Below(3);
        ushort displacement = size switch { 0 => 0, 1 => (ushort)(sbyte)random.Next(), _ => (ushort)random.Next() };
        if (open != none)
        {
            SetRegister(ref random, state, ref context, open, (ushort)(effective - sum - displacement) | (random.Next() << 16), address32: true);
        }
        else
        {
            displacement = (ushort)(effective - sum);
            size = displacement == 0 && first != none ? 0 : (short)displacement == (sbyte)displacement && first != none ? 1 : 2;
        }

        instruction.MemoryBase = Register16(first);
        instruction.MemoryIndex = Register16(second);
        instruction.MemoryIndexScale = 1;
        instruction.MemoryDisplacement64 = displacement;
        instruction.MemoryDisplSize = size;
        return true;
    }

    private static Register Register16(int register) => register < 0 ? Register.None : Register.AX + register;

    private static ulong RandomCanonical(ref Rng random) => (ulong)((long)random.Next() >> 17);

    private static bool WithoutBase(ref Rng random, ref Instruction instruction, ulong effective, bool address32, CaseState* state, ref AddressContext context)
    {
        int index = PickRegister(ref random, context, noRsp: true);
        if (index < 0)
        {
            return false;
        }

        int scale = 1 << random.Below(4);
        if ((context.Known & (1u << index)) == 0)
        {
            SetRegister(ref random, state, ref context, index, (ulong)random.Between(-1000, 1000), address32);
        }

        ulong displacement = effective - (Value(state, index, address32) * (ulong)scale);
        return SetOperand(ref instruction, -1, index, scale, displacement, 4, address32);
    }

    private static bool WithBase(ref Rng random, ref Instruction instruction, ulong effective, bool address32, bool useIndex, CaseState* state, ref AddressContext context)
    {
        int index = useIndex ? PickRegister(ref random, context, noRsp: true) : -1;
        int baseRegister = PickRegister(ref random, context, noRsp: false);
        if (baseRegister < 0)
        {
            return false;
        }

        int scale = index < 0 ? 1 : 1 << random.Below(4);
        ulong scaled = 0;
        if (index >= 0)
        {
            if ((context.Known & (1u << index)) == 0)
            {
                ulong value = index == baseRegister ? effective / (ulong)(scale + 1) : (ulong)random.Between(-64, 64);
                SetRegister(ref random, state, ref context, index, value, address32);
            }

            scaled = Value(state, index, address32) * (ulong)scale;
        }

        // EVEX counts displacements of one byte in operands (SDM vol. 2A, 2.7.5).
        long unit = instruction.Encoding == EncodingKind.EVEX ? Math.Max(instruction.MemorySize.GetSize(), 1) : 1;
        int displacementSize = random.Below(3) switch { 0 => 0, 1 => 1, _ => 4 };
        ulong displacement;
        if ((context.Known & (1u << baseRegister)) != 0)
        {
            displacement = effective - scaled - Value(state, baseRegister, address32);
            if (address32)
            {
                displacement = (ulong)(int)displacement;
            }

            displacementSize = displacement == 0 && displacementSize == 0 ? 0 : (long)displacement == (sbyte)displacement && displacementSize <= 1 ? 1 : 4;
        }
        else
        {
            displacement = displacementSize switch { 0 => 0, 1 => (ulong)((sbyte)random.Next() * unit), _ => (ulong)(int)random.Next() };
            SetRegister(ref random, state, ref context, baseRegister, effective - scaled - displacement, address32);
        }

        return SetOperand(ref instruction, baseRegister, index, scale, displacement, displacementSize, address32);
    }

    private static bool SetOperand(ref Instruction instruction, int baseRegister, int index, int scale, ulong displacement, int displacementSize, bool address32)
    {
        if (!address32 && (long)displacement != (int)displacement)
        {
            return false;
        }

        Register first = address32 ? Register.EAX : Register.RAX;
        instruction.MemoryBase = baseRegister < 0 ? Register.None : first + baseRegister;
        instruction.MemoryIndex = index < 0 ? Register.None : first + index;
        instruction.MemoryIndexScale = scale;
        instruction.MemoryDisplacement64 = address32 ? (uint)displacement : displacement;
        instruction.MemoryDisplSize = displacementSize == 4 && !address32 ? 8 : displacementSize;
        return true;
    }

    private static int PickRegister(ref Rng random, in AddressContext context, bool noRsp)
    {
        uint allowed = (context.Sequence ? context.Known : context.Bitness != 64 ? 0xFFu : 0xFFFF) & ~context.Avoid & ~(noRsp ? 1u << 4 : 0);
        if (allowed == 0)
        {
            return -1;
        }

        while (true)
        {
            int register = random.Chance(25) ? random.Pick<int>([4, 5, 12, 13]) : random.Below(16);
            if (((allowed >> register) & 1) != 0)
            {
                return register;
            }

            if ((allowed & 0x3030) == 0 && System.Numerics.BitOperations.PopCount(allowed) == 1)
            {
                return System.Numerics.BitOperations.TrailingZeroCount(allowed);
            }
        }
    }

    private static void SetRegister(ref Rng random, CaseState* state, ref AddressContext context, int register, ulong value, bool address32)
    {
        state->Gpr[register] = address32 ? (uint)value | (context.Bitness != 64 ? 0 : random.Next() << 32) : value;
        context.Known |= 1u << register;
    }

    private static ulong Value(CaseState* state, int register, bool address32)
        => address32 ? (uint)state->Gpr[register] : state->Gpr[register];
}
