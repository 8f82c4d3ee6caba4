using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>One decoded instruction of a block that is being translated.</summary>
internal unsafe struct GuestInstruction
{
    public Instruction Instruction;
    public ulong Rip;

    /// <summary>RIP of the instruction behind it, wrapped to the code's size.</summary>
    public ulong NextRip;

    /// <summary>The bytes that were decoded: a copy, valid until the next block is decoded.</summary>
    public byte* Bytes;

    /// <summary>Number of bytes.</summary>
    public int Length;

    /// <summary>Distance of the instruction's end from the block's first byte.</summary>
    public int End;

    public InstructionForm Form;

    /// <summary>One bit for each general register that is an operand, or a part of one.</summary>
    public ushort Named;

    /// <summary>Likewise, of operands that are written.</summary>
    public ushort Written;

    /// <summary>AH, CH, DH or BH is an operand.</summary>
    public bool HasHighByte;

    public readonly ReadOnlySpan<byte> Code => new(Bytes, Length);

    public readonly bool Is(FormKinds kind) => (Form.Kinds & kind) != 0;

    public readonly bool Names(int register) => (Named & (1 << register)) != 0;

    public readonly bool Writes(int register) => (Written & (1 << register)) != 0;

    /// <summary>Looks at what was decoded once, for all that is asked of it later.</summary>
    public void Describe(InstructionForm form)
    {
        Form = form;
        Named = Written = 0;
        HasHighByte = false;
        int general = form.GeneralRegisters;
        if (general == 0)
        {
            return;
        }

        int written = form.Traits.WrittenOperands;
        if ((general & 1) != 0)
        {
            Note(Instruction.Op0Register, written);
        }

        if ((general & 2) != 0)
        {
            Note(Instruction.Op1Register, written >> 1);
        }

        if ((general & ~3) != 0)
        {
            for (int i = 2; i < Instruction.OpCount; i++)
            {
                if ((general & (1 << i)) != 0)
                {
                    Note(Instruction.GetOpRegister(i), written >> i);
                }
            }
        }
    }

    private void Note(Register register, int written)
    {
        int bit = 1 << GeneralRegister.NumberOf(register);
        Named |= (ushort)bit;
        HasHighByte |= GeneralRegister.IsHighByte(register);
        if ((written & 1) != 0)
        {
            Written |= (ushort)bit;
        }
    }
}
