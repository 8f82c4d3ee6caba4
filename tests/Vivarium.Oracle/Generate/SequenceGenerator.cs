using Iced.Intel;

namespace Vivarium.Oracle.Generate;

/// <summary>
/// Makes short programs: straight-line code with forward jumps and counted loops. A few registers, chosen anew for each
/// program, hold addresses and are never written except by stack and string instructions; memory operands use only them.
/// </summary>
internal sealed unsafe class SequenceGenerator
{
    private const int Rcx = 1;
    private const int Rsp = 4;
    private const int Rsi = 6;
    private const int Rdi = 7;
    private const int MaxLength = 30;
    private const int JumpLength = 2;

    private readonly ulong _seed;
    private readonly int _bitness;
    private readonly InstructionMaker _maker;
    private readonly InstructionInfoFactory _infoFactory = new();
    private readonly List<Code> _integer = [];
    private readonly List<Code> _vector = [];
    private readonly List<Code> _evex = [];
    private readonly List<Code> _x87 = [];
    private readonly List<Code> _stack = [];

    public SequenceGenerator(ulong seed, IEnumerable<Code> forms, int bitness = 64)
    {
        _seed = seed;
        _bitness = bitness;
        _maker = new InstructionMaker(bitness);
        foreach (Code form in forms)
        {
            OpCodeInfo info = form.ToOpCode();
            if (!IsSuitable(form, info))
            {
                continue;
            }

            if (info.IsStackInstruction || InstructionMaker.IsString(form))
            {
                _stack.Add(form);
            }
            else if (UsesX87(form))
            {
                _x87.Add(form);
            }
            else if (info.Encoding == EncodingKind.Legacy && form.CpuidFeatures()[0] is < CpuidFeature.ADX)
            {
                _integer.Add(form);
            }
            else
            {
                (info.Encoding == EncodingKind.EVEX ? _evex : _vector).Add(form);
            }
        }
    }

    public bool TryMake(int index, TestCase test)
    {
        Rng random = Rng.For(_seed, -1, index);
        test.Reset();
        test.Seed = _seed;
        test.Bitness = _bitness;
        test.Form = Code.INVALID;
        test.Index = index;
        StateGenerator.Fill(ref random, test.Input);
        CalmExceptions(ref random, test.Input);
        test.Input->FsBase = _bitness == 64 ? Native.NativeRunner.FsBase : 0;
        CaseMemory.DataContent.CopyTo(test.Memory, 0);
        test.CodeAddress = CaseWindow.CodeBase + 64 + (ulong)random.Below(CaseWindow.CodeSize - 1024);
        test.Input->Rip = test.ToRip(test.CodeAddress);
        test.Cpl = random.Chance(50) ? 0 : 3;

        // What jumps are made relative to: single instructions may not branch, so these are never reached.
        test.Pads.Add(0);
        var context = new AddressContext(sequence: true, _bitness) { GsKnown = true };
        if (_bitness == 64 && random.Chance(50))
        {
            test.Input->GsBase = (ulong)random.Between(-0x1000_0000, 0x1000_0000);
        }

        uint pointers = ChoosePointers(ref random, test.Input, _bitness);
        if (_bitness != 64)
        {
            pointers &= 0xFF;
            CaseGenerator.Narrow(test.Input);
        }

        context.Known = pointers;
        int wanted = random.Between(5, MaxLength);
        int style = random.Below(4);
        var pending = new List<(int At, int Remaining)>();
        int loopStart = -1;
        int loopLeft = 0;
        int counter = -1;
        for (int tries = 0; test.Instructions.Count < wanted && tries < wanted * 20; tries++)
        {
            int room = TestCase.MaxCode - test.CodeLength;
            if (room < 48)
            {
                break;
            }

            if (counter < 0 && pending.Count == 0 && random.Chance(8) && TryBeginLoop(ref random, test, ref pointers, ref context, out counter))
            {
                loopStart = test.CodeLength;
                loopLeft = random.Between(2, 6);
                continue;
            }

            if (pending.Count == 0 && random.Chance(8) && TryEmitJump(ref random, test))
            {
                pending.Add((test.CodeLength - 1, random.Between(1, 3)));
                continue;
            }

            Code form = ChooseForm(ref random, style);
            if (counter >= 0 && _stack.Contains(form))
            {
                continue;
            }

            if (!TryEmit(ref random, form, test, context, pointers))
            {
                continue;
            }

            for (int at = 0; at < pending.Count; at++)
            {
                pending[at] = (pending[at].At, pending[at].Remaining - 1);
            }

            Land(test, pending, all: false);
            if (counter >= 0 && --loopLeft <= 0 && pending.Count == 0)
            {
                if (!TryEndLoop(ref random, test, loopStart, counter))
                {
                    return false;
                }

                pointers &= ~(1u << counter);
                counter = -1;
                loopStart = -1;
            }
        }

        Land(test, pending, all: true);
        if (counter >= 0 && !TryEndLoop(ref random, test, loopStart, counter))
        {
            return false;
        }

        if (!Finish(test))
        {
            return false;
        }

        test.Pads[0] = test.CodeAddress + (ulong)test.CodeLength;
        return true;
    }

    /// <summary>Decodes the code again and follows its flags. False when it is not what was meant.</summary>
    public static bool Finish(TestCase test)
    {
        test.Instructions.Clear();
        var decoder = Decoder.Create(test.Bitness, new ByteArrayCodeReader(test.Code.ToArray()), test.CodeAddress, DecoderOptions.None);
        while (decoder.IP < test.CodeAddress + (ulong)test.CodeLength)
        {
            Instruction instruction = decoder.Decode();
            if (instruction.IsInvalid)
            {
                return false;
            }

            test.Instructions.Add(instruction);
        }

        if (test.Instructions.Count == 0 || !FlagFlow.Check(test.Instructions, out ulong undefined, out ulong everUndefined))
        {
            return false;
        }

        test.UndefinedFlags = undefined;
        test.UndefinedFlagsAtFault = everUndefined;
        return true;
    }

    private static bool UsesX87(Code form)
    {
        CpuidFeature feature = form.CpuidFeatures()[0];
        return feature is CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387 or CpuidFeature.MMX;
    }

    private static bool IsSuitable(Code form, OpCodeInfo info)
    {
        if (form.FlowControl() != FlowControl.Next)
        {
            return false;
        }

        for (int operand = 0; operand < info.OpCount; operand++)
        {
            if (info.GetOpKind(operand) is OpCodeOperandKind.seg_reg or OpCodeOperandKind.seg_rBX_al
                || InstructionMaker.IsVsib(info.GetOpKind(operand)))
            {
                return false;
            }
        }

        return form.Mnemonic() is not (Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq or Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq
            or Mnemonic.Fnstenv or Mnemonic.Fldenv or Mnemonic.Fnsave or Mnemonic.Frstor or Mnemonic.Fxsave or Mnemonic.Fxsave64
            or Mnemonic.Fxrstor or Mnemonic.Fxrstor64 or Mnemonic.Fldcw or Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr or Mnemonic.Wrgsbase
            or Mnemonic.Enter or Mnemonic.Leave or Mnemonic.Cli or Mnemonic.Sti or Mnemonic.Div or Mnemonic.Idiv or Mnemonic.Std or Mnemonic.Cld
            or Mnemonic.Maskmovdqu or Mnemonic.Maskmovq or Mnemonic.Vmaskmovdqu or Mnemonic.Bound);
    }

    /// <summary>In most programs all exceptions are masked, so that the program comes to its end.</summary>
    private static void CalmExceptions(ref Rng random, CaseState* state)
    {
        if (random.Chance(10))
        {
            return;
        }

        *(ushort*)(state->Xsave + XsaveArea.Fcw) |= 0x3F;
        *(ushort*)(state->Xsave + XsaveArea.Fsw) &= 0x7F7F;
        *(uint*)(state->Xsave + XsaveArea.Mxcsr) |= 0x1F80;
    }

    /// <summary>Gives a few registers addresses in the window, and one or two small indices.</summary>
    private static uint ChoosePointers(ref Rng random, CaseState* state, int bitness)
    {
        uint pointers = 0;
        if (random.Chance(70))
        {
            pointers |= 1u << Rsp;
        }

        if (random.Chance(40))
        {
            pointers |= (1u << Rsi) | (1u << Rdi);
        }

        for (int more = random.Between(1, 3); more > 0; more--)
        {
            pointers |= 1u << (random.Chance(bitness == 16 ? 80 : 50) ? bitness == 16 ? random.Pick<int>([3, 5, 6, 7]) : random.Pick<int>([12, 13, 5, 14, 15]) : random.Below(16));
        }

        for (int register = 0; register < 16; register++)
        {
            if ((pointers & (1u << register)) != 0)
            {
                state->Gpr[register] = CaseWindow.DataBase + (ulong)random.Between(0xC00, 0x2200) & ~63ul;
            }
        }

        int index = random.Below(16);
        if (index != Rsp && (pointers & (1u << index)) == 0)
        {
            pointers |= 1u << index;
            state->Gpr[index] = (ulong)(random.Between(-8, 8) * 8);
        }

        return pointers;
    }

    private Code ChooseForm(ref Rng random, int style)
    {
        int choice = random.Below(100);
        List<Code> pool = style switch
        {
            0 => choice < 85 ? _integer : _stack,
            1 => choice < 40 ? _integer : choice < 90 ? _vector : _stack,
            2 => choice < 40 ? _integer : choice < 85 ? _x87 : _vector,
            _ => choice < 60 ? _integer : choice < 80 ? _vector : choice < 90 ? _x87 : _stack,
        };
        if (pool == _vector && _evex.Count != 0 && random.Chance(40))
        {
            pool = _evex;
        }

        return pool[random.Below(pool.Count)];
    }

    private bool TryEmit(ref Rng random, Code form, TestCase test, AddressContext context, uint pointers)
    {
        OpCodeInfo info = form.ToOpCode();
        bool isString = InstructionMaker.IsString(form);
        if (info.IsStackInstruction && info.OperandSize == 16 && random.Chance(80))
        {
            return false;
        }

        ulong rip = test.CodeAddress + (ulong)test.CodeLength;
        Span<byte> at = test.CodeBuffer.AsSpan(test.CodeLength, 32);
        int prefix = 0;
        if (isString)
        {
            if ((pointers & ((1u << Rsi) | (1u << Rdi))) != ((1u << Rsi) | (1u << Rdi)))
            {
                return false;
            }
        }

        if (!_maker.TryMake(ref random, form, test, rip, ref context, out Instruction instruction))
        {
            return false;
        }

        bool counted = false;
        if (isString && (info.CanUseRepPrefix || info.CanUseRepnePrefix) && (pointers & (1u << Rcx)) == 0 && random.Chance(60))
        {
            // mov ecx, count
            counted = true;
            prefix = OperandSize32(at);
            at[prefix] = 0xB9;
            BitConverter.TryWriteBytes(at[(prefix + 1)..], random.Below(7));
            prefix += 5;
            if (info.CanUseRepnePrefix && random.Chance(50))
            {
                instruction.HasRepnePrefix = true;
            }
            else
            {
                instruction.HasRepPrefix = true;
            }
        }

        if (!_maker.TryEncode(instruction, rip + (ulong)prefix, at[prefix..], out int length, out _)
            || !_maker.TryDecode(at.Slice(prefix, length), rip + (ulong)prefix, out Instruction decoded)
            || decoded.Code != form || decoded.Length != length)
        {
            return false;
        }

        // String instructions with 32-bit addresses clear the upper halves; that is fine below 4 GiB.
        foreach (UsedRegister used in _infoFactory.GetInfo(decoded).GetUsedRegisters())
        {
            bool written = used.Access is not (OpAccess.Read or OpAccess.CondRead or OpAccess.None or OpAccess.NoMemAccess);
            if (!written || !used.Register.IsGPR())
            {
                continue;
            }

            int register = used.Register is >= Register.AH and <= Register.BH ? used.Register - Register.AH : used.Register.GetFullRegister() - Register.RAX;
            bool drifts = (register == Rsp && info.IsStackInstruction && !NamesRegister(decoded, Rsp))
                || (isString && (register is Rsi or Rdi || (register == Rcx && counted)));
            if (((pointers >> register) & 1) != 0 && !drifts)
            {
                return false;
            }
        }

        test.Instructions.Add(decoded);
        if (!FlagFlow.Check(test.Instructions, out _, out _))
        {
            test.Instructions.RemoveAt(test.Instructions.Count - 1);
            return false;
        }

        test.CodeLength += prefix + length;
        return true;
    }

    private static bool NamesRegister(in Instruction instruction, int register)
        => instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsGPR() && instruction.Op0Register.GetFullRegister() == Register.RAX + register;

    /// <summary>Jcc over the next instructions, distance still open.</summary>
    private bool TryEmitJump(ref Rng random, TestCase test)
    {
        Span<byte> at = test.CodeBuffer.AsSpan(test.CodeLength, JumpLength);
        at[0] = (byte)(0x70 | random.Below(16));
        at[1] = 0;
        if (!_maker.TryDecode(at, test.CodeAddress + (ulong)test.CodeLength, out Instruction jump))
        {
            return false;
        }

        test.Instructions.Add(jump);
        if (!FlagFlow.Check(test.Instructions, out _, out _))
        {
            test.Instructions.RemoveAt(test.Instructions.Count - 1);
            return false;
        }

        test.CodeLength += JumpLength;
        return true;
    }

    /// <summary>Fixes the distance of jumps whose instructions have been made, here and in the decoded list.</summary>
    private void Land(TestCase test, List<(int At, int Remaining)> pending, bool all)
    {
        for (int i = pending.Count - 1; i >= 0; i--)
        {
            if (pending[i].Remaining > 0 && !all)
            {
                continue;
            }

            int at = pending[i].At;
            test.CodeBuffer[at] = (byte)(test.CodeLength - at - 1);
            ulong rip = test.CodeAddress + (ulong)at - 1;
            int index = test.Instructions.FindIndex(instruction => instruction.IP == rip);
            if (index >= 0 && _maker.TryDecode(test.Code.Slice(at - 1, JumpLength), rip, out Instruction jump))
            {
                test.Instructions[index] = jump;
            }

            pending.RemoveAt(i);
        }
    }

    /// <summary>16-bit code needs a prefix for 32-bit operands. Returns its length.</summary>
    private int OperandSize32(Span<byte> at)
    {
        at[0] = 0x66;
        return _bitness == 16 ? 1 : 0;
    }

    /// <summary>mov r32, count into a register that the body then leaves alone.</summary>
    private bool TryBeginLoop(ref Rng random, TestCase test, ref uint pointers, ref AddressContext context, out int counter)
    {
        counter = random.Below(_bitness != 64 ? 8 : 16);
        if (counter == Rsp || ((pointers >> counter) & 1) != 0)
        {
            counter = -1;
            return false;
        }

        Span<byte> at = test.CodeBuffer.AsSpan(test.CodeLength, 6);
        int length = OperandSize32(at);
        if (counter >= 8)
        {
            at[length++] = 0x41;
        }

        at[length++] = (byte)(0xB8 | (counter & 7));
        BitConverter.TryWriteBytes(at[length..], random.Between(1, 5));
        length += 4;
        _maker.TryDecode(at[..length], test.CodeAddress + (ulong)test.CodeLength, out Instruction load);
        test.Instructions.Add(load);
        test.CodeLength += length;
        pointers |= 1u << counter;
        context.Avoid |= 1u << counter;
        return true;
    }

    /// <summary>dec r32, or sub r32, 1; jnz rel32 to the loop's start.</summary>
    private bool TryEndLoop(ref Rng random, TestCase test, int loopStart, int counter)
    {
        Span<byte> at = test.CodeBuffer.AsSpan(test.CodeLength, 11);
        int length = OperandSize32(at);
        if (counter >= 8)
        {
            at[length++] = 0x41;
        }

        if (random.Chance(50))
        {
            at[length++] = 0xFF;
            at[length++] = (byte)(0xC8 | (counter & 7));
        }
        else
        {
            at[length++] = 0x83;
            at[length++] = (byte)(0xE8 | (counter & 7));
            at[length++] = 1;
        }

        _maker.TryDecode(at[..length], test.CodeAddress + (ulong)test.CodeLength, out Instruction decrement);
        test.Instructions.Add(decrement);
        int jumpAt = length;
        int displacement = _bitness == 16 ? 2 : 4;
        at[length++] = 0x0F;
        at[length++] = 0x85;
        int distance = loopStart - (test.CodeLength + length + displacement);
        _ = displacement == 2 ? BitConverter.TryWriteBytes(at[length..], (short)distance) : BitConverter.TryWriteBytes(at[length..], distance);
        length += displacement;
        _maker.TryDecode(at[jumpAt..length], test.CodeAddress + (ulong)(test.CodeLength + jumpAt), out Instruction jump);
        test.Instructions.Add(jump);
        test.CodeLength += length;
        return FlagFlow.Check(test.Instructions, out _, out _);
    }
}
