using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>An instruction from which others with the same opcode and prefixes differ in their fields only.</summary>
internal struct Example
{
    public Instruction Instruction;
    public InstructionForm Form;

    /// <summary>What the ModR/M byte's register field names.</summary>
    public FieldOperand Register;

    /// <summary>What its other field names, if that is a register, or what the opcode's low bits name.</summary>
    public FieldOperand Rm;

    /// <summary>General registers that are operands without a field, and those of them that are written, a bit for each.</summary>
    public int Named;
    public int Written;

    /// <summary>Bytes of the constant at the instruction's end; 0 for none.</summary>
    public byte ConstantSize;

    /// <summary>What is kept of four bytes there as a constant operand; 0 if it is none.</summary>
    public uint ImmediateMask;

    /// <summary>All ones if the constant is the distance to a jump's target, and by how much it is shifted up and down then.</summary>
    public ulong Branches;
    public byte DistanceShift;

    /// <summary>Bits of a REX prefix with which the instruction is not one like this.</summary>
    public byte UnusedRex;

    /// <summary>None if not all that differs is known here.</summary>
    /// <param name="instruction">Its fields name <paramref name="register"/> and <paramref name="rm"/>.</param>
    /// <param name="form">The instruction's.</param>
    /// <param name="constants">Where it has constants.</param>
    /// <param name="register">The register field's value; -1 if there is none.</param>
    /// <param name="rm">Likewise, of the other one.</param>
    public static Example? Of(in Instruction instruction, InstructionForm form, in ConstantOffsets constants, int register, int rm)
    {
        var example = new Example { Instruction = instruction, Form = form, ConstantSize = (byte)constants.ImmediateSize };
        for (int i = 0; i < instruction.OpCount; i++)
        {
            OpKind kind = instruction.GetOpKind(i);
            if (kind == OpKind.Register)
            {
                if (FieldOperand.Of(instruction.GetOpRegister(i), i, form.Traits.Writes(i)) is not { } operand)
                {
                    return null;
                }

                int number = instruction.GetOpRegister(i) - (Register)operand.First;
                if (number == register && !example.Register.Exists)
                {
                    example.Register = operand;
                }
                else if (number == rm && !example.Rm.Exists)
                {
                    example.Rm = operand;
                }
                else
                {
                    operand.Note(number, ref example.Named, ref example.Written);
                }
            }
            else if (kind is OpKind.NearBranch16 or OpKind.NearBranch32)
            {
                return null;
            }

            example.Branches |= kind == OpKind.NearBranch64 ? ulong.MaxValue : 0;
        }

        int unused = 32 - (8 * constants.ImmediateSize);
        if (example.Branches != 0)
        {
            example.DistanceShift = (byte)unused;
        }
        else if (constants.HasImmediate)
        {
            example.ImmediateMask = uint.MaxValue >> unused;
        }

        bool known = !constants.HasImmediate2 && constants.ImmediateSize <= sizeof(int) && example.Rm.Exists == rm >= 0 && example.Rm.IsEarly && example.Register.IsEarly;
        return known ? example : null;
    }
}
