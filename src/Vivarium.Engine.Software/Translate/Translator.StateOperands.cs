using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Guest R12-R15 as memory operands: an instruction without one of its own takes such a register from its slot in the state
// block, where there is a form for that which does the same, instead of through a scratch register.
internal sealed unsafe partial class Translator
{
    /// <summary>How far apart Iced's codes of "rm, r" and "r, rm" of an instruction with four sizes are.</summary>
    private const int OtherDirection = 4;

    /// <summary>Makes one register operand of the state block the memory operand, if that is possible. There is none yet.</summary>
    /// <returns>The guest register if it is written there, else -1.</returns>
    private int TakeFromState(ref Instruction instruction, CodeTraits traits)
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            Register register = instruction.GetOpKind(i) == OpKind.Register ? instruction.GetOpRegister(i) : Register.None;
            if (!register.IsGPR() || OfGuest(register) >= 0)
            {
                continue;
            }

            bool written = traits.Writes(i);
            int guest = GuestNumber(register);
            if (!IsBetterHeld(guest, written) && TakeFromState(ref instruction, i, written))
            {
                return written ? guest : -1;
            }
        }

        return -1;
    }

    private static bool TakeFromState(ref Instruction instruction, int operand, bool written)
    {
        Register register = instruction.GetOpRegister(operand);

        // Written as memory, a slot would keep its upper half.
        bool keepsUpper = written && register.GetSize() == 4;
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Xor or Mnemonic.Sub or Mnemonic.Sbb when ReadsNothing(instruction):
                return false;

            case Mnemonic.Test when instruction.Op1Kind == OpKind.Register && instruction.Op0Register == instruction.Op1Register:
                // All flags are those of a comparison with 0.
                instruction.Code = register.GetSize() switch { 1 => Code.Cmp_rm8_imm8, 2 => Code.Cmp_rm16_imm8, 4 => Code.Cmp_rm32_imm8, _ => Code.Cmp_rm64_imm8 };
                instruction.SetOpKind(1, register.GetSize() switch { 1 => OpKind.Immediate8, 2 => OpKind.Immediate8to16, 4 => OpKind.Immediate8to32, _ => OpKind.Immediate8to64 });
                instruction.SetImmediate(1, 0);
                break;

            case Mnemonic.Test when operand == 1:
                // It has one form, and its operands may change places.
                instruction.Op1Register = instruction.Op0Register;
                operand = 0;
                break;

            case Mnemonic.Mov when instruction.Code == Code.Mov_r32_imm32 && (int)instruction.Immediate32 >= 0:
                instruction.Code = Code.Mov_rm64_imm32;
                instruction.Op1Kind = OpKind.Immediate32to64;
                break;

            case Mnemonic.Mov when instruction.Code is Code.Mov_r8_imm8 or Code.Mov_r16_imm16:
                instruction.Code = instruction.Code == Code.Mov_r8_imm8 ? Code.Mov_rm8_imm8 : Code.Mov_rm16_imm16;
                break;

            case Mnemonic.Mov or Mnemonic.Add or Mnemonic.Or or Mnemonic.Adc or Mnemonic.Sbb or Mnemonic.And or Mnemonic.Sub or Mnemonic.Xor or Mnemonic.Cmp:
                if (keepsUpper || !TurnTo(ref instruction, operand))
                {
                    return false;
                }

                break;

            default:
                if (keepsUpper || operand != PlaceOfMemory(instruction))
                {
                    return false;
                }

                break;
        }

        instruction.SetOpKind(operand, OpKind.Memory);
        instruction.MemoryBase = Register.RAX + State;
        instruction.MemoryDisplacement64 = (ulong)StateOffset.Gpr(GuestNumber(register));
        instruction.MemoryDisplSize = 1;
        return true;
    }

    /// <summary>What a register holds does not matter for the difference from itself.</summary>
    private static bool ReadsNothing(in Instruction instruction)
        => instruction.Mnemonic is Mnemonic.Xor or Mnemonic.Sub or Mnemonic.Sbb && instruction.Op1Kind == OpKind.Register && instruction.Op0Register == instruction.Op1Register;

    /// <summary>Chooses the form of MOV, CMP and the like in which an operand may be in memory.</summary>
    private static bool TurnTo(ref Instruction instruction, int operand)
    {
        switch (instruction.Code)
        {
            case Code.Mov_rm8_r8 or Code.Mov_rm16_r16 or Code.Mov_rm32_r32 or Code.Mov_rm64_r64
                or Code.Add_rm8_r8 or Code.Add_rm16_r16 or Code.Add_rm32_r32 or Code.Add_rm64_r64
                or Code.Or_rm8_r8 or Code.Or_rm16_r16 or Code.Or_rm32_r32 or Code.Or_rm64_r64
                or Code.Adc_rm8_r8 or Code.Adc_rm16_r16 or Code.Adc_rm32_r32 or Code.Adc_rm64_r64
                or Code.Sbb_rm8_r8 or Code.Sbb_rm16_r16 or Code.Sbb_rm32_r32 or Code.Sbb_rm64_r64
                or Code.And_rm8_r8 or Code.And_rm16_r16 or Code.And_rm32_r32 or Code.And_rm64_r64
                or Code.Sub_rm8_r8 or Code.Sub_rm16_r16 or Code.Sub_rm32_r32 or Code.Sub_rm64_r64
                or Code.Xor_rm8_r8 or Code.Xor_rm16_r16 or Code.Xor_rm32_r32 or Code.Xor_rm64_r64
                or Code.Cmp_rm8_r8 or Code.Cmp_rm16_r16 or Code.Cmp_rm32_r32 or Code.Cmp_rm64_r64:
                if (operand == 1)
                {
                    instruction.Code += OtherDirection;
                }

                return true;

            case Code.Mov_r8_rm8 or Code.Mov_r16_rm16 or Code.Mov_r32_rm32 or Code.Mov_r64_rm64
                or Code.Add_r8_rm8 or Code.Add_r16_rm16 or Code.Add_r32_rm32 or Code.Add_r64_rm64
                or Code.Or_r8_rm8 or Code.Or_r16_rm16 or Code.Or_r32_rm32 or Code.Or_r64_rm64
                or Code.Adc_r8_rm8 or Code.Adc_r16_rm16 or Code.Adc_r32_rm32 or Code.Adc_r64_rm64
                or Code.Sbb_r8_rm8 or Code.Sbb_r16_rm16 or Code.Sbb_r32_rm32 or Code.Sbb_r64_rm64
                or Code.And_r8_rm8 or Code.And_r16_rm16 or Code.And_r32_rm32 or Code.And_r64_rm64
                or Code.Sub_r8_rm8 or Code.Sub_r16_rm16 or Code.Sub_r32_rm32 or Code.Sub_r64_rm64
                or Code.Xor_r8_rm8 or Code.Xor_r16_rm16 or Code.Xor_r32_rm32 or Code.Xor_r64_rm64
                or Code.Cmp_r8_rm8 or Code.Cmp_r16_rm16 or Code.Cmp_r32_rm32 or Code.Cmp_r64_rm64:
                if (operand == 0)
                {
                    instruction.Code -= OtherDirection;
                }

                return true;

            default:
                // A constant is the other operand.
                return operand == 0 && instruction.Op1Kind is >= OpKind.Immediate8 and <= OpKind.Immediate32to64 && instruction.Code != Code.Mov_r64_imm64 && instruction.Code != Code.Mov_r32_imm32;
        }
    }

    /// <summary>The operand that may be in memory, of instructions that do the same then; -1: none, or it is not known.</summary>
    private static int PlaceOfMemory(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Test:
            case Mnemonic.Inc or Mnemonic.Dec or Mnemonic.Neg or Mnemonic.Not or Mnemonic.Mul or Mnemonic.Div or Mnemonic.Idiv:
            case Mnemonic.Shl or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Rol or Mnemonic.Ror:
                return 0;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc:
                // A bit beyond the operand, in a register, would be looked for beside it in memory.
                return instruction.Op1Kind == OpKind.Immediate8 ? 0 : -1;
            case Mnemonic.Imul:
                return instruction.OpCount == 1 ? 0 : 1;
            case Mnemonic.Movzx or Mnemonic.Movsx or Mnemonic.Movsxd:
            case Mnemonic.Bsf or Mnemonic.Bsr or Mnemonic.Tzcnt or Mnemonic.Lzcnt or Mnemonic.Popcnt:
            case Mnemonic.Rorx or Mnemonic.Shlx or Mnemonic.Shrx or Mnemonic.Sarx:
                return 1;
            case Mnemonic.Andn:
                return 2;
            case Mnemonic.Movd or Mnemonic.Movq or Mnemonic.Vmovd or Mnemonic.Vmovq when instruction.Encoding is EncodingKind.Legacy or EncodingKind.VEX:
                return instruction.Op0Register.IsGPR() ? 0 : 1;
            case Mnemonic.Cvtsi2sd or Mnemonic.Cvtsi2ss:
                return 1;
            default:
                return instruction.ConditionCode == ConditionCode.None || instruction.FlowControl != FlowControl.Next ? -1 : instruction.OpCount == 1 ? 0 : 1; // SETcc, CMOVcc
        }
    }
}
