using Iced.Intel;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

internal enum FlagSource : byte
{
    /// <summary>Nothing is known.</summary>
    None,

    /// <summary>CMP of two operands that are still there.</summary>
    Compare,

    /// <summary>TEST of two operands that are still there; and after AND, OR and XOR, of the result with itself: CF and OF are 0.</summary>
    Test,

    /// <summary>ADD, whose result is still there, and what was added.</summary>
    Add,

    /// <summary>SUB, whose result is still there, and what was taken away.</summary>
    Subtract,

    /// <summary>NEG, whose result is still there.</summary>
    Negate,

    /// <summary>SHL by a constant, of a value that was put aside (<see cref="NativeState.ShiftedValue"/>).</summary>
    ShiftLeft,

    /// <summary>SHR, likewise.</summary>
    ShiftRight,

    /// <summary>SAR, likewise.</summary>
    ShiftArithmetically,
}

/// <summary>How all six arithmetic flags can be made again: the instruction that made them, while what it worked on is in registers.</summary>
/// <param name="Source">The instruction.</param>
/// <param name="Size">Bytes of its operands.</param>
/// <param name="First">Guest register: first operand, or result; -1 for shifts.</param>
/// <param name="Second">Guest register, or -1: <paramref name="Immediate"/>.</param>
/// <param name="Immediate">Sign-extended.</param>
internal readonly record struct FlagRecipe(FlagSource Source, int Size, int First, int Second, int Immediate)
{
    public bool Exists => Source != FlagSource.None;

    /// <summary>Whether a change of a guest register spoils it.</summary>
    public bool DependsOn(int writtenRegisters) => (((First < 0 ? 0 : 1 << First) | (Second < 0 ? 0 : 1 << Second)) & writtenRegisters) != 0;

    /// <summary>They are those that the host makes: what processors leave undefined after a shift is not worked out here.</summary>
    public bool IsShift => Source >= FlagSource.ShiftLeft;

    /// <summary>For a shift of a register by a constant that is not 0: if what is shifted is put aside. Else none.</summary>
    public static FlagRecipe OfShift(in Instruction instruction)
    {
        if (instruction.OpCount != 2 || instruction.Op0Kind != OpKind.Register || !IsKnown(instruction.Op0Register) || instruction.Op0Register.GetSize() < sizeof(uint)
            || instruction.Op1Kind != OpKind.Immediate8)
        {
            return default;
        }

        int size = instruction.Op0Register.GetSize();
        int count = instruction.Immediate8 & ((size * 8) - 1);
        return count == 0 ? default : instruction.Mnemonic switch
        {
            Mnemonic.Shl => new FlagRecipe(FlagSource.ShiftLeft, size, -1, -1, count),
            Mnemonic.Shr => new FlagRecipe(FlagSource.ShiftRight, size, -1, -1, count),
            Mnemonic.Sar => new FlagRecipe(FlagSource.ShiftArithmetically, size, -1, -1, count),
            _ => default,
        };
    }

    /// <summary>For an instruction that has just replaced all flags.</summary>
    public static FlagRecipe Of(in Instruction instruction)
    {
        if (instruction.OpCount == 0 || instruction.Op0Kind != OpKind.Register || !IsKnown(instruction.Op0Register))
        {
            return default;
        }

        int size = instruction.Op0Register.GetSize();
        int first = instruction.Op0Register.GetFullRegister() - Register.RAX;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.And or Mnemonic.Or or Mnemonic.Xor:
                return new FlagRecipe(FlagSource.Test, size, first, first, 0);
            case Mnemonic.Neg when size >= 4:
                return new FlagRecipe(FlagSource.Negate, size, first, -1, 0);
            case Mnemonic.Cmp:
                return OfTwo(FlagSource.Compare, size, first, instruction);
            case Mnemonic.Test:
                return OfTwo(FlagSource.Test, size, first, instruction);
            case Mnemonic.Add when size >= 4:
                FlagRecipe sum = OfTwo(FlagSource.Add, size, first, instruction);
                return sum.Second == first ? default : sum;
            case Mnemonic.Sub when size >= 4:
                FlagRecipe difference = OfTwo(FlagSource.Subtract, size, first, instruction);
                return difference.Second == first ? default : difference;
            default:
                return default;
        }
    }

    private static bool IsKnown(Register register)
        => register.IsGPR() && register.GetSize() != 2 && register is not (>= Register.AH and <= Register.BH);

    private static FlagRecipe OfTwo(FlagSource source, int size, int first, in Instruction instruction)
    {
        if (instruction.Op1Kind == OpKind.Register)
        {
            return IsKnown(instruction.Op1Register)
                ? new FlagRecipe(source, size, first, instruction.Op1Register.GetFullRegister() - Register.RAX, 0)
                : default;
        }

        return instruction.Op1Kind is >= OpKind.Immediate8 and <= OpKind.Immediate32to64
            ? new FlagRecipe(source, size, first, -1, size == 1 ? (sbyte)instruction.GetImmediate(1) : (int)instruction.GetImmediate(1))
            : default;
    }

    /// <summary>RFLAGS = the flags: done where the first operand stands, which in the end is what it was.</summary>
    public void Emit(Emitter emitter)
    {
        const int add = 0x01;
        const int sub = 0x29;
        const int cmp = 0x39;
        const int test = 0x85;
        if (IsShift)
        {
            EmitShift(emitter);
            return;
        }

        int first = HostRegister.Of(First);

        // Two operands in memory: one has to be in a register.
        bool withItself = Source == FlagSource.Test && Second == First;
        bool loads = first < 0 && Second >= 0 && HostRegister.Of(Second) < 0 && !withItself;
        if (loads)
        {
            first = HostRegister.T2;
            emitter.Push(first);
            emitter.LoadState(first, StateOffset.Gpr(First));
        }

        switch (Source)
        {
            case FlagSource.Compare:
                EmitOperation(emitter, cmp, first);
                break;
            case FlagSource.Test when first < 0 && withItself:
                emitter.Rm(Size == 1 ? 0x80 : 0x83, cmp >> 3, State, StateOffset.Gpr(First), Size == 8);
                emitter.Byte(0);
                break;
            case FlagSource.Test:
                EmitOperation(emitter, test, first);
                break;
            case FlagSource.Add:
                EmitOperation(emitter, sub, first);
                EmitOperation(emitter, add, first);
                break;
            case FlagSource.Subtract:
                EmitOperation(emitter, add, first);
                EmitOperation(emitter, sub, first);
                break;
            default:
                EmitTo(emitter, 0xF7, 3, first);
                EmitTo(emitter, 0xF7, 3, first);
                break;
        }

        if (loads)
        {
            emitter.Pop(first);
        }
    }

    private void EmitShift(Emitter emitter)
    {
        emitter.Push(HostRegister.T2);
        emitter.LoadState(HostRegister.T2, StateOffset.ShiftedValue);
        emitter.Rr(0xC1, Source switch { FlagSource.ShiftLeft => 4, FlagSource.ShiftRight => 5, _ => 7 }, HostRegister.T2, Size == 8);
        emitter.Byte(Immediate);
        emitter.Pop(HostRegister.T2);
    }

    /// <summary>The flags as bits of RFLAGS. Not for shifts.</summary>
    /// <param name="registers">The guest's, by number.</param>
    public unsafe ulong Evaluate(ulong* registers)
    {
        int bits = Size * 8;
        ulong mask = ulong.MaxValue >> (64 - bits);
        ulong first = registers[First] & mask;
        ulong second = (Second < 0 ? (ulong)(long)Immediate : registers[Second]) & mask;
        (ulong left, ulong right, ulong result) = Source switch
        {
            FlagSource.Compare => (first, second, first - second),
            FlagSource.Test => (0ul, 0ul, first & second),
            FlagSource.Add => (first - second, second, first),
            FlagSource.Subtract => (first + second, second, first),
            _ => (0ul, 0 - first, first),
        };
        left &= mask;
        right &= mask;
        result &= mask;
        ulong flags = result == 0 ? RflagsBits.Zf : 0;
        flags |= (result >> (bits - 1)) != 0 ? RflagsBits.Sf : 0;
        flags |= (System.Numerics.BitOperations.PopCount(result & 0xFF) & 1) == 0 ? RflagsBits.Pf : 0;
        if (Source != FlagSource.Test)
        {
            bool sum = Source == FlagSource.Add;
            ulong overflow = sum ? (left ^ result) & (right ^ result) : (left ^ right) & (left ^ result);
            flags |= (sum ? result < left : left < right) ? RflagsBits.Cf : 0;
            flags |= ((left ^ right ^ result) & 0x10) != 0 ? RflagsBits.Af : 0;
            flags |= (overflow >> (bits - 1)) != 0 ? RflagsBits.Of : 0;
        }

        return flags;
    }

    /// <summary>An operation on both operands.</summary>
    /// <param name="emitter">Where to emit.</param>
    /// <param name="opcode">With a register as source.</param>
    /// <param name="first">The host register of the first operand, or -1: it is in the state block.</param>
    private void EmitOperation(Emitter emitter, int opcode, int first)
    {
        // The forms for bytes have the opcode before.
        int byOne = Size == 1 ? 1 : 0;
        bool isTest = opcode == 0x85;
        if (Second < 0)
        {
            bool small = !isTest && Size != 1 && Immediate == (sbyte)Immediate;
            EmitTo(emitter, isTest ? 0xF7 - byOne : small ? 0x83 : 0x81 - byOne, isTest ? 0 : opcode >> 3, first);
            if (small || Size == 1)
            {
                emitter.Byte(Immediate);
            }
            else
            {
                emitter.Dword(Immediate);
            }
        }
        else if (HostRegister.Of(Second) is >= 0 and int second)
        {
            EmitTo(emitter, opcode - byOne, second, first);
        }
        else
        {
            // op first, [state]: the other direction (TEST has one form for both).
            emitter.Rm((isTest ? opcode : opcode + 2) - byOne, first, State, StateOffset.Gpr(Second), Size == 8, byteReg: Size == 1);
        }
    }

    /// <summary>An instruction with the first operand as what it works on.</summary>
    private void EmitTo(Emitter emitter, int opcode, int reg, int first)
    {
        if (first < 0)
        {
            emitter.Rm(opcode, reg, State, StateOffset.Gpr(First), Size == 8);
        }
        else if (Size == 1)
        {
            // SPL to DIL need a prefix.
            emitter.Byte(0x40 | ((reg >> 3) << 2) | (first >> 3));
            emitter.Byte(opcode);
            emitter.Byte(0xC0 | ((reg & 7) << 3) | (first & 7));
        }
        else
        {
            emitter.Rr(opcode, reg, first, Size == 8);
        }
    }
}
