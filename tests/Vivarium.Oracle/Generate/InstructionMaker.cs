using Iced.Intel;

namespace Vivarium.Oracle.Generate;

/// <summary>Makes one instruction of a form with random operands, and sets the registers and memory that it needs to be meaningful.</summary>
internal sealed unsafe class InstructionMaker
{
    private const int Rax = 0;
    private const int Rcx = 1;
    private const int Rdx = 2;
    private const int Rbx = 3;
    private const int Rsp = 4;
    private const int Rbp = 5;
    private const int Rsi = 6;
    private const int Rdi = 7;

    /// <summary>TF, NT, AC: would trap, or disturb the kernel's own returns.</summary>
    private const ulong ForbiddenFlags = 0x44100;

    private readonly BytesWriter _writer = new();
    private readonly Encoder _encoder;

    private readonly int _bitness;

    public InstructionMaker(int bitness)
    {
        _bitness = bitness;
        _encoder = Encoder.Create(bitness, _writer);
    }

    private sealed class BytesWriter : CodeWriter
    {
        public byte[] Bytes { get; } = new byte[64];

        public int Count { get; set; }

        public override void WriteByte(byte value)
        {
            if (Count < Bytes.Length)
            {
                Bytes[Count++] = value;
            }
        }
    }

    public bool TryEncode(in Instruction instruction, ulong rip, Span<byte> to, out int length, out string? error)
    {
        _writer.Count = 0;
        bool ok = _encoder.TryEncode(instruction, rip, out _, out error);
        length = _writer.Count;
        if (!ok || length > to.Length)
        {
            return false;
        }

        _writer.Bytes.AsSpan(0, length).CopyTo(to);
        return true;
    }

    public bool TryDecode(ReadOnlySpan<byte> code, ulong rip, out Instruction instruction)
    {
        var reader = new ByteArrayCodeReader(code.ToArray());
        Decoder.Create(_bitness, reader, rip, DecoderOptions.None).Decode(out instruction);
        return !instruction.IsInvalid;
    }

    public bool TryMake(ref Rng random, Code form, TestCase test, ulong rip, ref AddressContext context, out Instruction instruction)
    {
        OpCodeInfo info = form.ToOpCode();
        instruction = new Instruction { Code = form };
        CaseState* state = test.Input;
        if (!SetImplicit(ref random, form, info, test, ref context, ref instruction))
        {
            return false;
        }

        int memoryOperand = -1;
        for (int operand = 0; operand < info.OpCount; operand++)
        {
            OpCodeOperandKind kind = info.GetOpKind(operand);
            if (IsMemoryOnly(kind) || (IsRegisterOrMemory(kind) && random.Chance(60)))
            {
                instruction.SetOpKind(operand, OpKind.Memory);
                memoryOperand = operand;
                continue;
            }

            if (!SetOperand(ref random, ref instruction, operand, kind, test, rip))
            {
                return false;
            }
        }

        if (instruction.Encoding == EncodingKind.EVEX)
        {
            SetEvex(ref random, ref instruction, info, memoryOperand);
        }

        if (memoryOperand >= 0 && !SetMemory(ref random, ref instruction, memoryOperand, info, test, ref context))
        {
            return false;
        }

        if (memoryOperand < 0 && !SetRegisterTargets(ref random, ref instruction, form, test, state, ref context))
        {
            return false;
        }

        if (info.CanUseLockPrefix && instruction.Op0Kind == OpKind.Memory && random.Chance(35))
        {
            instruction.HasLockPrefix = true;
        }

        return true;
    }

    private static int GprIndex(Register register)
        => register is >= Register.AH and <= Register.BH ? register - Register.AH : register.GetFullRegister() - Register.RAX;

    private static bool IsMemoryOnly(OpCodeOperandKind kind) => kind is OpCodeOperandKind.mem or OpCodeOperandKind.mem_offs
        || IsVsib(kind);

    public static bool IsVsib(OpCodeOperandKind kind) => kind is OpCodeOperandKind.mem_vsib32x or OpCodeOperandKind.mem_vsib64x
        or OpCodeOperandKind.mem_vsib32y or OpCodeOperandKind.mem_vsib64y or OpCodeOperandKind.mem_vsib32z or OpCodeOperandKind.mem_vsib64z;

    private static bool IsRegisterOrMemory(OpCodeOperandKind kind) => kind is OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem
        or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.xmm_or_mem
        or OpCodeOperandKind.ymm_or_mem or OpCodeOperandKind.zmm_or_mem or OpCodeOperandKind.k_or_mem;

    private int VectorCount(in Instruction instruction) => _bitness != 64 ? 8 : instruction.Encoding == EncodingKind.EVEX ? 32 : 16;

    private static Register RandomRegister(ref Rng random, Register first, int count) => first + random.Below(count);

    /// <summary>General registers, with those that a translator must treat specially more often.</summary>
    private Register RandomGpr(ref Rng random, Register first)
        => first + (_bitness != 64 ? random.Below(8) : random.Chance(25) ? random.Pick<int>([Rsp, Rbp, 12, 13, 14, 15]) : random.Below(16));

    private Register RandomByteGpr(ref Rng random) => _bitness != 64 || random.Below(3) == 0
        ? RandomRegister(ref random, _bitness != 64 ? Register.AL : Register.AH, _bitness != 64 ? 8 : 4)
        : random.Pick<Register>(
        [
            Register.AL, Register.CL, Register.DL, Register.BL, Register.SPL, Register.BPL, Register.SIL, Register.DIL,
            Register.R8L, Register.R9L, Register.R10L, Register.R11L, Register.R12L, Register.R13L, Register.R14L, Register.R15L,
        ]);

    private bool SetOperand(ref Rng random, ref Instruction instruction, int operand, OpCodeOperandKind kind, TestCase test, ulong rip)
    {
        Register register;
        switch (kind)
        {
            case OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r8_reg or OpCodeOperandKind.r8_opcode:
                register = RandomByteGpr(ref random);
                break;
            case OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r16_reg or OpCodeOperandKind.r16_rm or OpCodeOperandKind.r16_opcode:
                register = RandomGpr(ref random, Register.AX);
                break;
            case OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r32_rm or OpCodeOperandKind.r32_opcode or OpCodeOperandKind.r32_vvvv:
                register = RandomGpr(ref random, Register.EAX);
                break;
            case OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.r64_reg or OpCodeOperandKind.r64_rm or OpCodeOperandKind.r64_opcode or OpCodeOperandKind.r64_vvvv:
                register = RandomGpr(ref random, Register.RAX);
                break;
            case OpCodeOperandKind.seg_reg:
                test.Cpl = 3;
                register = RandomRegister(ref random, Register.ES, 6);
                break;
            case OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_rm:
                register = RandomRegister(ref random, Register.MM0, 8);
                break;
            case OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.xmm_reg or OpCodeOperandKind.xmm_rm or OpCodeOperandKind.xmm_vvvv
                or OpCodeOperandKind.xmmp3_vvvv or OpCodeOperandKind.xmm_is4 or OpCodeOperandKind.xmm_is5:
                register = RandomRegister(ref random, Register.XMM0, VectorCount(instruction));
                break;
            case OpCodeOperandKind.ymm_or_mem or OpCodeOperandKind.ymm_reg or OpCodeOperandKind.ymm_rm or OpCodeOperandKind.ymm_vvvv
                or OpCodeOperandKind.ymm_is4 or OpCodeOperandKind.ymm_is5:
                register = RandomRegister(ref random, Register.YMM0, VectorCount(instruction));
                break;
            case OpCodeOperandKind.zmm_or_mem or OpCodeOperandKind.zmm_reg or OpCodeOperandKind.zmm_rm or OpCodeOperandKind.zmm_vvvv
                or OpCodeOperandKind.zmmp3_vvvv:
                register = RandomRegister(ref random, Register.ZMM0, VectorCount(instruction));
                break;
            case OpCodeOperandKind.k_or_mem or OpCodeOperandKind.k_reg or OpCodeOperandKind.kp1_reg or OpCodeOperandKind.k_rm or OpCodeOperandKind.k_vvvv:
                register = RandomRegister(ref random, Register.K0, 8);
                break;
            case OpCodeOperandKind.es or OpCodeOperandKind.cs or OpCodeOperandKind.ss or OpCodeOperandKind.ds:
                test.Cpl = 3;
                register = Register.ES + (kind - OpCodeOperandKind.es);
                break;
            case OpCodeOperandKind.al: register = Register.AL; break;
            case OpCodeOperandKind.cl: register = Register.CL; break;
            case OpCodeOperandKind.ax: register = Register.AX; break;
            case OpCodeOperandKind.dx: register = Register.DX; break;
            case OpCodeOperandKind.eax: register = Register.EAX; break;
            case OpCodeOperandKind.rax: register = Register.RAX; break;
            case OpCodeOperandKind.st0: register = Register.ST0; break;
            case OpCodeOperandKind.sti_opcode:
                register = RandomRegister(ref random, Register.ST0, 8);
                break;
            case OpCodeOperandKind.imm4_m2z:
                instruction.SetOpKind(operand, OpKind.Immediate8);
                instruction.Immediate8 = (byte)random.Below(16);
                return true;
            case OpCodeOperandKind.imm8:
                if (operand > 0 && instruction.GetOpKind(operand - 1) is OpKind.Immediate8 or OpKind.Immediate16)
                {
                    instruction.SetOpKind(operand, OpKind.Immediate8_2nd);
                    instruction.Immediate8_2nd = (byte)(random.Chance(85) ? random.Below(4) : random.Below(256));
                    return true;
                }

                instruction.SetOpKind(operand, OpKind.Immediate8);
                instruction.Immediate8 = random.Chance(60) ? (byte)random.Next() : (byte)random.Below(33);
                return true;
            case OpCodeOperandKind.imm8_const_1:
                instruction.SetOpKind(operand, OpKind.Immediate8);
                instruction.Immediate8 = 1;
                return true;
            case OpCodeOperandKind.imm8sex16:
                instruction.SetOpKind(operand, OpKind.Immediate8to16);
                instruction.Immediate8to16 = (sbyte)random.Next();
                return true;
            case OpCodeOperandKind.imm8sex32:
                instruction.SetOpKind(operand, OpKind.Immediate8to32);
                instruction.Immediate8to32 = (sbyte)random.Next();
                return true;
            case OpCodeOperandKind.imm8sex64:
                instruction.SetOpKind(operand, OpKind.Immediate8to64);
                instruction.Immediate8to64 = (sbyte)random.Next();
                return true;
            case OpCodeOperandKind.imm16:
                instruction.SetOpKind(operand, OpKind.Immediate16);
                instruction.Immediate16 = instruction.Mnemonic is Mnemonic.Enter or Mnemonic.Ret ? (ushort)random.Below(0x180) : (ushort)Values.Integer(ref random);
                return true;
            case OpCodeOperandKind.imm32:
                instruction.SetOpKind(operand, OpKind.Immediate32);
                instruction.Immediate32 = (uint)Values.Integer(ref random);
                return true;
            case OpCodeOperandKind.imm32sex64:
                instruction.SetOpKind(operand, OpKind.Immediate32to64);
                instruction.Immediate32to64 = (int)Values.Integer(ref random);
                return true;
            case OpCodeOperandKind.imm64:
                instruction.SetOpKind(operand, OpKind.Immediate64);
                instruction.Immediate64 = Values.Integer(ref random);
                return true;
            case OpCodeOperandKind.br64_1 or OpCodeOperandKind.br64_4:
                instruction.SetOpKind(operand, OpKind.NearBranch64);
                instruction.NearBranch64 = random.Chance(50) ? rip + 48 : rip - 40;
                return true;
            case OpCodeOperandKind.br32_1 or OpCodeOperandKind.br32_4:
                instruction.SetOpKind(operand, OpKind.NearBranch32);
                instruction.NearBranch32 = (uint)(random.Chance(50) ? rip + 48 : rip - 40);
                return true;
            case OpCodeOperandKind.br16_1 or OpCodeOperandKind.br16_2:
                instruction.SetOpKind(operand, OpKind.NearBranch16);
                instruction.NearBranch16 = (ushort)(random.Chance(50) ? rip + 48 : rip - 40);
                return true;
            case OpCodeOperandKind.seg_rSI when _bitness == 16:
                instruction.SetOpKind(operand, OpKind.MemorySegSI);
                return true;
            case OpCodeOperandKind.es_rDI when _bitness == 16:
                instruction.SetOpKind(operand, OpKind.MemoryESDI);
                return true;
            case OpCodeOperandKind.seg_rDI when _bitness == 16:
                instruction.SetOpKind(operand, OpKind.MemorySegDI);
                return true;
            case OpCodeOperandKind.seg_rBX_al when _bitness == 16:
                instruction.SetOpKind(operand, OpKind.Memory);
                instruction.MemoryBase = Register.BX;
                instruction.MemoryIndex = Register.AL;
                return true;
            case OpCodeOperandKind.seg_rSI:
                instruction.SetOpKind(operand, _bitness == 32 || instruction.Op0Kind == OpKind.MemoryESEDI || (operand == 0 && random.Chance(10)) ? OpKind.MemorySegESI : OpKind.MemorySegRSI);
                return true;
            case OpCodeOperandKind.es_rDI:
                instruction.SetOpKind(operand, _bitness == 32 || OtherIs32(instruction, operand) || (operand == 0 && random.Chance(10)) ? OpKind.MemoryESEDI : OpKind.MemoryESRDI);
                return true;
            case OpCodeOperandKind.seg_rDI:
                instruction.SetOpKind(operand, _bitness == 32 || random.Chance(10) ? OpKind.MemorySegEDI : OpKind.MemorySegRDI);
                return true;
            case OpCodeOperandKind.seg_rBX_al:
                instruction.SetOpKind(operand, OpKind.Memory);
                instruction.MemoryBase = _bitness == 32 || random.Chance(10) ? Register.EBX : Register.RBX;
                instruction.MemoryIndex = Register.AL;
                return true;
            default:
                return false;
        }

        instruction.SetOpKind(operand, OpKind.Register);
        instruction.SetOpRegister(operand, register);
        return true;
    }

    /// <summary>What EVEX has besides operands (SDM vol. 2A, 2.7): opmask, zeroing, broadcast, rounding, suppression of exceptions.</summary>
    private static void SetEvex(ref Rng random, ref Instruction instruction, OpCodeInfo info, int memoryOperand)
    {
        if (info.RequireOpMaskRegister || (info.CanUseOpMaskRegister && random.Chance(65)))
        {
            instruction.OpMask = RandomRegister(ref random, Register.K1, 7);
            instruction.ZeroingMasking = info.CanUseZeroingMasking && memoryOperand != 0 && random.Chance(50);
        }

        if (memoryOperand >= 0)
        {
            instruction.IsBroadcast = info.CanBroadcast && random.Chance(40);
        }
        else if (info.CanUseRoundingControl && random.Chance(40))
        {
            instruction.RoundingControl = RoundingControl.RoundToNearest + random.Below(4);
        }
        else if (info.CanSuppressAllExceptions && !info.CanUseRoundingControl && random.Chance(40))
        {
            instruction.SuppressAllExceptions = true;
        }
    }

    /// <summary>String instructions with two memory operands have one address size.</summary>
    private static bool OtherIs32(in Instruction instruction, int operand) => operand > 0 && instruction.GetOpKind(operand - 1) == OpKind.MemorySegESI;

    /// <summary>A data address whose last byte lies in the window, or, for single instructions, sometimes one that faults.</summary>
    private static ulong Target(ref Rng random, int size, bool mustAlign, bool sequence)
    {
        int unit = Math.Clamp((int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(size, 1)), 1, 64);
        const int margin = 0x600;
        ulong low = sequence ? CaseWindow.DataBase + margin : CaseWindow.DataBase;
        int span = CaseWindow.DataSize - (sequence ? 2 * margin : 0) - Math.Max(size, 64);
        ulong aligned = low + ((ulong)random.Below(span) & ~(ulong)(unit - 1));
        int kind = random.Below(100);
        if (kind < 50 || (sequence && mustAlign))
        {
            return aligned;
        }

        if (kind < 68)
        {
            return low + (ulong)random.Below(span);
        }

        if (kind < 72)
        {
            // Not a byte beyond: who reads or writes more than the operand is thought to have shows here.
            return CaseWindow.DataBase + (CaseWindow.PageSize * (ulong)random.Between(1, sequence ? 2 : 4)) - (ulong)size;
        }

        if (kind < 90 || sequence)
        {
            ulong boundary = CaseWindow.DataBase + (CaseWindow.PageSize * (ulong)random.Between(1, 2));
            return boundary - (ulong)random.Below(Math.Max(size, 2));
        }

        return kind switch
        {
            < 94 => CaseWindow.ReadOnlyBase - (random.Chance(50) ? 0 : (ulong)random.Below(size + 1)),
            < 96 => CaseWindow.DataBase - (ulong)random.Between(1, size + 8),
            < 98 => CaseWindow.WindowEnd - (ulong)random.Below(size + 1),

            // As an offset of 16-bit code too, outside of the window.
            98 => 0x0000_8000_0001_8000 + (ulong)random.Below(4096),
            _ => 0x8000_0000_0000_8000 | random.Next() >> 8,
        };
    }

    private static bool IsAlignedMove(Mnemonic mnemonic) => mnemonic
        is Mnemonic.Vmovdqa or Mnemonic.Vmovdqa32 or Mnemonic.Vmovdqa64 or Mnemonic.Vmovaps or Mnemonic.Vmovapd
        or Mnemonic.Vmovntdq or Mnemonic.Vmovntdqa or Mnemonic.Vmovntpd or Mnemonic.Vmovntps;

    private bool SetMemory(ref Rng random, ref Instruction instruction, int operand, OpCodeInfo info, TestCase test, ref AddressContext context)
    {
        CaseState* state = test.Input;
        OpCodeOperandKind kind = info.GetOpKind(operand);
        if (IsVsib(kind))
        {
            return !context.Sequence && SetVsib(ref random, ref instruction, kind, test, ref context);
        }

        int size = Math.Max(instruction.MemorySize.GetSize(), 1);
        Mnemonic mnemonic = instruction.Mnemonic;
        bool mustAlign = (size >= 16 && instruction.Encoding == EncodingKind.Legacy) || mnemonic == Mnemonic.Cmpxchg16b
            || IsAlignedMove(mnemonic);
        ulong target = Target(ref random, size, mustAlign, context.Sequence);
        if (instruction.OpMask != Register.None && !context.Sequence && random.Chance(15))
        {
            // Elements that the mask leaves out do not fault.
            target = random.Pick<ulong>([CaseWindow.DataBase, CaseWindow.ReadOnlyBase, CaseWindow.WindowEnd]) - (ulong)random.Below(size + 1);
        }

        if (size > 64 && target < CaseWindow.WindowEnd)
        {
            // Which of two faulting pages is reported is the processor's choice.
            target = Math.Min(target, CaseWindow.WindowEnd - (ulong)size);
        }

        if (_bitness == 16 && mnemonic is (Mnemonic.Jmp or Mnemonic.Call))
        {
            // Any word is an address of the code, which may hold what a case before this one has left.
            target = CaseWindow.DataBase + 0x800 + (ulong)random.Below(0x1F00);
        }

        const int simple = 10;
        if (_bitness == 16 && size > simple && (ushort)target + size > ushort.MaxValue)
        {
            // Nor are the parts of such operands checked in a known order against limits, and those that a mask leaves out.
            target = CaseWindow.DataBase + CaseWindow.PageSize;
        }

        if (mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc && instruction.Op1Kind == OpKind.Register)
        {
            // The bit offset reaches beyond the operand: keep it near, and out of the address.
            int offsetRegister = GprIndex(instruction.Op1Register);
            if (context.Sequence || (context.Known & (1u << offsetRegister)) != 0)
            {
                return false;
            }

            long offset = random.Between(-3000, 3000);
            state->Gpr[offsetRegister] = size == 8 ? (ulong)offset : size == 4 ? (uint)offset | (random.Next() << 32) : (ushort)offset | (random.Next() << 16);
            context.Known |= 1u << offsetRegister;
            context.Avoid |= 1u << offsetRegister;
            target = CaseWindow.DataBase + 0x800 + (ulong)random.Below(0x1F00);
        }

        if (kind == OpCodeOperandKind.mem_offs)
        {
            instruction.MemoryDisplacement64 = target;
            instruction.MemoryDisplSize = _bitness switch { 16 => 2, 32 => 4, _ => 8 };
            if (_bitness != 64 && target > uint.MaxValue)
            {
                return false;
            }

            if (random.Chance(15) && target <= uint.MaxValue)
            {
                instruction.MemoryDisplSize = 4;
                instruction.MemoryDisplacement64 -= context.DataSegmentBase;
            }
            else if (_bitness == 16)
            {
                instruction.MemoryDisplacement64 = (ushort)target;
            }
        }
        else if (mnemonic is Mnemonic.Lea or Mnemonic.Nop)
        {
            target = random.Next();
            if (!MemoryShape.TryAddress(ref random, ref instruction, random.Chance(50) ? target : (uint)target >> 2, state, ref context))
            {
                return false;
            }

            return true;
        }
        else
        {
            if (mnemonic is Mnemonic.Jmp or Mnemonic.Call or Mnemonic.Push && (context.Known & (1u << Rsp)) != 0)
            {
                context.Avoid |= mnemonic == Mnemonic.Push ? 0 : 1u << Rsp;
            }

            if (!MemoryShape.TryAddress(ref random, ref instruction, target, state, ref context))
            {
                return false;
            }
        }

        if (!context.Sequence)
        {
            FillOperand(ref random, instruction, test, target, size);
        }

        return true;
    }

    /// <summary>Writes what the operand should hold, in the type the instruction takes it for.</summary>
    private static void FillOperand(ref Rng random, in Instruction instruction, TestCase test, ulong target, int size)
    {
        Span<byte> operand = Window(test, target, size);
        if (operand.Length < size)
        {
            return;
        }

        CaseState* state = test.Input;
        fixed (byte* at = operand)
        {
            switch (instruction.MemorySize)
            {
                case MemorySize.Float80:
                    Values.Extended(ref random, at);
                    break;
                case MemorySize.Bcd:
                    for (int i = 0; i < 10; i++)
                    {
                        at[i] = random.Chance(90) ? (byte)(random.Below(10) | (random.Below(10) << 4)) : (byte)random.Next();
                    }

                    break;
                default:
                    Values.Fill(ref random, operand);
                    break;
            }

            ulong pad = test.Pads.Count > 2 ? test.ToRip(test.Pads[random.Between(1, 2)]) : 0;
            switch (instruction.Mnemonic)
            {
                case Mnemonic.Jmp or Mnemonic.Call when size <= 8:
                    new ReadOnlySpan<byte>(&pad, size).CopyTo(operand);
                    break;
                case Mnemonic.Ldmxcsr or Mnemonic.Vldmxcsr:
                    *(uint*)at = random.Chance(90) ? (uint)random.Next() & XsaveArea.MxcsrDefined : (uint)random.Next();
                    break;
                case Mnemonic.Fxrstor or Mnemonic.Fxrstor64:
                    new Span<byte>(state->Xsave, 512).CopyTo(operand);
                    Values.Fill(ref random, new Span<byte>(at + XsaveArea.Xmm0, 64));
                    *(uint*)(at + XsaveArea.Mxcsr) = random.Chance(85) ? (uint)random.Next() & XsaveArea.MxcsrDefined : (uint)random.Next();
                    break;
                case Mnemonic.Cmpxchg when random.Chance(50):
                    ulong accumulator = state->Gpr[Rax];
                    new ReadOnlySpan<byte>(&accumulator, size).CopyTo(operand);
                    break;
                case Mnemonic.Cmpxchg8b when random.Chance(50):
                    *(ulong*)at = (uint)state->Gpr[Rax] | (state->Gpr[Rdx] << 32);
                    break;
                case Mnemonic.Cmpxchg16b when random.Chance(50):
                    ((ulong*)at)[0] = state->Gpr[Rax];
                    ((ulong*)at)[1] = state->Gpr[Rdx];
                    break;
            }
        }

        // Instruction and data pointers of the x87 are the host's own business.
        int start = (int)(target - CaseWindow.DataBase);
        switch (instruction.Code)
        {
            case Code.Fnstenv_m14byte or Code.Fnsave_m94byte:
                test.IgnoredMemory.Add((start + 6, 8));
                break;
            case Code.Fnstenv_m28byte or Code.Fnsave_m108byte:
                test.IgnoredMemory.Add((start + 12, 16));
                break;
            case Code.Fxsave_m512byte or Code.Fxsave64_m512byte:
                test.IgnoredMemory.Add((start + XsaveArea.Fop, XsaveArea.Mxcsr - XsaveArea.Fop));
                break;
        }
    }

    private static Span<byte> Window(TestCase test, ulong target, int size)
    {
        ulong offset = target - CaseWindow.DataBase;
        return offset >= CaseWindow.DataSize || (ulong)size > CaseWindow.DataSize - offset ? default : test.Memory.AsSpan((int)offset, size);
    }

    /// <summary>
    /// VSIB: indices small enough that every element lies in the window, but for those that the mask leaves out; index, destination and a mask in
    /// a vector register must differ.
    /// </summary>
    private bool SetVsib(ref Rng random, ref Instruction instruction, OpCodeOperandKind kind, TestCase test, ref AddressContext context)
    {
        bool evex = instruction.Encoding == EncodingKind.EVEX;
        int indexSize = kind is OpCodeOperandKind.mem_vsib64x or OpCodeOperandKind.mem_vsib64y or OpCodeOperandKind.mem_vsib64z ? 8 : 4;
        Register first = kind switch
        {
            OpCodeOperandKind.mem_vsib32x or OpCodeOperandKind.mem_vsib64x => Register.XMM0,
            OpCodeOperandKind.mem_vsib32y or OpCodeOperandKind.mem_vsib64y => Register.YMM0,
            _ => Register.ZMM0,
        };
        bool scatter = instruction.Op0Kind == OpKind.Memory;
        Register data = scatter ? instruction.Op1Register : instruction.Op0Register;
        int index = random.Below(VectorCount(instruction));
        int mask = random.Below(VectorCount(instruction));
        if (!scatter && index == Number(data))
        {
            return false;
        }

        CaseState* state = test.Input;
        ulong active = ulong.MaxValue;
        if (evex)
        {
            active = MaskOf(instruction, state);
            *(ulong*)(state->Xsave + XsaveArea.XstateBv) |= XsaveArea.ZmmHi256 | XsaveArea.Hi16Zmm;
        }
        else if (mask == Number(data) || index == mask)
        {
            return false;
        }

        int elements = first.GetSize() / indexSize;
        active &= (1ul << elements) - 1;
        int scale = 1 << random.Below(4);
        bool wild = random.Chance(40);

        // Which elements behind one that faults are done is the processor's choice: none are behind a single one.
        bool mayFault = evex && System.Numerics.BitOperations.IsPow2(active) && random.Chance(40);
        for (int element = 0; element < elements; element++)
        {
            bool anywhere = (active >> element & 1) == 0 ? wild : mayFault;
            long value = anywhere ? random.Chance(50) ? (long)random.Next() : random.Between(-0x8000, 0x8000) : random.Between(-3000, 3000) / scale;
            if (anywhere && mayFault && indexSize == 8)
            {
                value %= 0x1_0000;
            }

            new ReadOnlySpan<byte>(&value, indexSize).CopyTo(new Span<byte>(XsaveArea.Vector(state->Xsave, index, element * indexSize), indexSize));
        }

        int baseRegister = random.Below(context.Bitness != 64 ? 8 : 16);
        ulong displacement = (ulong)random.Between(-200, 200);
        state->Gpr[baseRegister] = CaseWindow.DataBase - context.DataSegmentBase + (CaseWindow.DataSize / 2) - displacement + (ulong)random.Below(8);
        context.Known |= 1u << baseRegister;
        instruction.MemoryBase = (context.Bitness != 64 ? Register.EAX : Register.RAX) + baseRegister;
        instruction.MemoryIndex = first + index;
        instruction.MemoryIndexScale = scale;
        instruction.MemoryDisplacement64 = context.Bitness != 64 ? (uint)displacement : displacement;
        instruction.MemoryDisplSize = evex && random.Chance(50) ? 1 : context.Bitness != 64 ? 4 : 8;
        if (!evex)
        {
            instruction.SetOpKind(2, OpKind.Register);
            instruction.SetOpRegister(2, (data >= Register.YMM0 ? Register.YMM0 : Register.XMM0) + mask);
        }

        return true;
    }

    private static ulong MaskOf(in Instruction instruction, CaseState* state)
        => (*(ulong*)(state->Xsave + XsaveArea.XstateBv) & XsaveArea.Opmask) != 0 ? *XsaveArea.Mask64(state->Xsave, instruction.OpMask - Register.K0) : 0;

    private static int Number(Register register)
        => register.IsXMM() ? register - Register.XMM0 : register.IsYMM() ? register - Register.YMM0 : register - Register.ZMM0;

    /// <summary>Register operands that hold code addresses.</summary>
    private static bool SetRegisterTargets(ref Rng random, ref Instruction instruction, Code form, TestCase test, CaseState* state, ref AddressContext context)
    {
        switch (form)
        {
            case Code.Jmp_rm64 or Code.Call_rm64 or Code.Jmp_rm32 or Code.Call_rm32 or Code.Jmp_rm16 or Code.Call_rm16:
                int register = GprIndex(instruction.Op0Register);
                if ((context.Known & (1u << register)) != 0)
                {
                    return false;
                }

                state->Gpr[register] = test.ToRip(test.Pads[random.Between(1, 2)]);
                break;
            case Code.Cmpxchg_rm8_r8 or Code.Cmpxchg_rm16_r16 or Code.Cmpxchg_rm32_r32 or Code.Cmpxchg_rm64_r64 when !context.Sequence && random.Chance(50):
                state->Gpr[Rax] = state->Gpr[GprIndex(instruction.Op0Register)];
                break;
            case Code.Wrgsbase_r64 when random.Chance(80):
                state->Gpr[GprIndex(instruction.Op0Register)] = (ulong)((long)random.Next() >> 17);
                break;
        }

        return true;
    }

    /// <summary>Registers and memory that the form uses without naming them.</summary>
    private static bool SetImplicit(ref Rng random, Code form, OpCodeInfo info, TestCase test, ref AddressContext context, ref Instruction instruction)
    {
        CaseState* state = test.Input;
        Mnemonic mnemonic = form.Mnemonic();
        if (mnemonic is Mnemonic.Pushf or Mnemonic.Pushfd or Mnemonic.Pushfq or Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq
            or Mnemonic.Cli or Mnemonic.Sti)
        {
            test.Cpl = 3;
        }

        if (info.IsStackInstruction || mnemonic is Mnemonic.Ret or Mnemonic.Call or Mnemonic.Enter or Mnemonic.Leave)
        {
            if (!SetStack(ref random, mnemonic, test, ref context))
            {
                return false;
            }
        }

        if (mnemonic is Mnemonic.Rdgsbase && !context.GsKnown)
        {
            context.GsKnown = true;
            state->GsBase = (ulong)((long)random.Next() >> 17);
        }

        if (context.Sequence)
        {
            return true;
        }

        switch (mnemonic)
        {
            case Mnemonic.Div when random.Chance(70):
                Fix(ref context, state, Rdx, (ulong)random.Below(3));
                break;
            case Mnemonic.Idiv when random.Chance(70):
                Fix(ref context, state, Rdx, (ulong)-(long)(state->Gpr[Rax] >> 63));
                break;
            case Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne or Mnemonic.Jcxz or Mnemonic.Jecxz or Mnemonic.Jrcxz:
                Fix(ref context, state, Rcx, random.Chance(70) ? (uint)random.Below(3) | (random.Chance(40) ? random.Next() << 32 : 0) : random.Next());
                break;
            case Mnemonic.Xlatb:
                ulong al = state->Gpr[Rax] & 0xFF;
                Fix(ref context, state, Rbx, Target(ref random, 1, false, false) - al);
                context.Known |= 1u << Rax;
                break;
            case Mnemonic.Maskmovq or Mnemonic.Maskmovdqu or Mnemonic.Vmaskmovdqu:
                // Bytes that the mask leaves out may fault or not: stay inside.
                Fix(ref context, state, Rdi, CaseWindow.DataBase + (ulong)random.Below(CaseWindow.DataSize - 16));
                break;
        }

        return !IsString(form) || SetString(ref random, form, info, test, ref context, ref instruction);
    }

    public static bool IsString(Code form) => new Instruction { Code = form }.IsStringInstruction;

    private static bool SetString(ref Rng random, Code form, OpCodeInfo info, TestCase test, ref AddressContext context, ref Instruction instruction)
    {
        CaseState* state = test.Input;
        int size = StringElement(form);
        ulong count = 1;
        if ((info.CanUseRepPrefix || info.CanUseRepnePrefix) && random.Chance(70))
        {
            count = random.Below(10) switch { 0 => 0, < 8 => (ulong)random.Below(24), _ => (ulong)random.Below(4000 / size) };
            Fix(ref context, state, Rcx, count);
            if (info.CanUseRepnePrefix && random.Chance(50))
            {
                instruction.HasRepnePrefix = true;
            }
            else
            {
                instruction.HasRepPrefix = true;
            }
        }

        ulong source = Target(ref random, size, false, false);
        ulong destination = random.Chance(30) ? source + (ulong)random.Between(-40, 40) : Target(ref random, size, false, false);
        if (!InData(source) && !(InData(destination) && (context.Bitness != 16 || InEs16(destination))))
        {
            // Which of two faulting operands is reported is the processor's choice.
            destination = CaseWindow.DataBase + (CaseWindow.DataSize / 2);
        }

        Fix(ref context, state, Rsi, source);
        Fix(ref context, state, Rdi, destination);
        int span = (int)Math.Min(count, 64) * size;
        bool down = (state->Rflags & 0x400) != 0;
        Span<byte> from = Window(test, down ? source - (ulong)span + (ulong)size : source, span);
        Span<byte> to = Window(test, down ? destination - (ulong)span + (ulong)size : destination, span);
        switch (form.Mnemonic())
        {
            case Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq when !from.IsEmpty && !to.IsEmpty && random.Chance(70):
                from.CopyTo(to);
                if (random.Chance(60))
                {
                    to[random.Below(to.Length)] ^= 1;
                }

                break;
            case Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq when !to.IsEmpty && random.Chance(70):
                for (int at = 0; at < to.Length; at++)
                {
                    to[at] = (byte)(state->Gpr[Rax] >> (at % size * 8));
                }

                if (random.Chance(60))
                {
                    to[random.Below(to.Length)] ^= 1;
                }

                break;
        }

        return true;
    }

    /// <summary>Well inside: not even a few repetitions leave the window.</summary>
    private static bool InData(ulong address) => address - (CaseWindow.DataBase + 256) < CaseWindow.DataSize - 512;

    private static bool InEs16(ulong address) => (ushort)address < CaseWindow.EsLimit16 - 256;

    public static int StringElement(Code form) => form.Mnemonic() switch
    {
        Mnemonic.Movsb or Mnemonic.Stosb or Mnemonic.Lodsb or Mnemonic.Cmpsb or Mnemonic.Scasb => 1,
        Mnemonic.Movsw or Mnemonic.Stosw or Mnemonic.Lodsw or Mnemonic.Cmpsw or Mnemonic.Scasw => 2,
        Mnemonic.Movsd or Mnemonic.Stosd or Mnemonic.Lodsd or Mnemonic.Cmpsd or Mnemonic.Scasd => 4,
        _ => 8,
    };

    private static bool SetStack(ref Rng random, Mnemonic mnemonic, TestCase test, ref AddressContext context)
    {
        CaseState* state = test.Input;
        if (context.Sequence)
        {
            return (context.Known & (1u << Rsp)) != 0;
        }

        ulong stack = random.Below(20) switch
        {
            0 => Target(ref random, 8, false, false),
            < 4 => CaseWindow.DataBase + (ulong)random.Between(0xC00, 0x2400),
            < 7 => CaseWindow.DataBase + CaseWindow.PageSize + (ulong)random.Between(-8, 8),
            _ => CaseWindow.DataBase + ((ulong)random.Between(0xC00, 0x2400) & ~7ul),
        };
        if (mnemonic is Mnemonic.Popa or Mnemonic.Popad && !InData(stack))
        {
            // How many registers it has popped when it faults is the processor's choice.
            stack = CaseWindow.DataBase + CaseWindow.PageSize;
        }

        if ((mnemonic is Mnemonic.Ret or Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq)
            && stack + 8 > CaseWindow.ReadOnlyBase && stack < CaseWindow.WindowEnd)
        {
            // The read-only page's bytes would be a wild return address or set TF.
            stack = CaseWindow.DataBase + CaseWindow.PageSize;
        }

        Fix(ref context, state, Rsp, stack);
        if (mnemonic is Mnemonic.Enter)
        {
            Fix(ref context, state, Rbp, CaseWindow.DataBase + (ulong)random.Between(0x800, 0x2400));
        }
        else if (mnemonic is Mnemonic.Leave)
        {
            Fix(ref context, state, Rbp, stack);
            Fix(ref context, state, Rsp, random.Next());
        }

        Span<byte> top = Window(test, stack, 8);
        if (top.IsEmpty)
        {
            return true;
        }

        switch (mnemonic)
        {
            case Mnemonic.Ret:
                BitConverter.TryWriteBytes(top, test.ToRip(test.Pads[random.Between(1, 2)]));
                break;
            case Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Popfq:
                BitConverter.TryWriteBytes(top, random.Next() & 0x3F_FFFF & ~ForbiddenFlags & ~0x20000ul);
                break;
        }

        return true;
    }

    private static void Fix(ref AddressContext context, CaseState* state, int register, ulong value)
    {
        state->Gpr[register] = value;
        context.Known |= 1u << register;
    }
}
