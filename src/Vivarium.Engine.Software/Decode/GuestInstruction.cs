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

    /// <summary>Looks once at what was decoded, for all that is asked of it later.</summary>
    public void Describe(InstructionForms forms)
    {
        InstructionForm form = forms.Get(this);
        Form = form;
        Named = Written = 0;
        HasHighByte = false;
        int general = form.GeneralRegisters;
        if (general != 0)
        {
            NoteRegisters(general, form.Traits.WrittenOperands);
        }
    }

    /// <param name="general">One bit for each operand that is a general register.</param>
    /// <param name="writtenOperands">Likewise, that is written.</param>
    private void NoteRegisters(int general, int writtenOperands)
    {
        int named = 0;
        int written = 0;
        bool high = false;
        for (int i = 0; general >> i != 0; i++)
        {
            if ((general & (1 << i)) == 0)
            {
                continue;
            }

            Register register = i switch { 0 => Instruction.Op0Register, 1 => Instruction.Op1Register, _ => Instruction.GetOpRegister(i) };
            int bit = 1 << GeneralRegister.NumberOf(register);
            named |= bit;
            written |= (writtenOperands & (1 << i)) != 0 ? bit : 0;
            high |= GeneralRegister.IsHighByte(register);
        }

        (Named, Written, HasHighByte) = ((ushort)named, (ushort)written, high);
    }
}
