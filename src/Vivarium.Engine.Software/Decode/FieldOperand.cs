using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>A register operand that a field of three bits, and a bit of the REX prefix, name.</summary>
internal struct FieldOperand
{
    /// <summary>The operand's number, and one.</summary>
    private byte _order;

    /// <summary>1 for general registers, and for those that are written, else 0.</summary>
    private byte _general;
    private byte _written;
    private bool _isByte;

    /// <summary>Its register if the field is 0.</summary>
    public byte First { get; private set; }

    public readonly bool Exists => _order != 0;

    /// <summary>It is the first or the second operand, or none: what <see cref="Put"/> knows.</summary>
    public readonly bool IsEarly => _order <= 2;

    /// <summary>None if the register is of a kind that is not known here.</summary>
    public static FieldOperand? Of(Register register, int operand, bool written)
    {
        Register first = register switch
        {
            >= Register.AL and <= Register.BL => Register.AL,
            >= Register.AX and <= Register.R15W => Register.AX,
            >= Register.EAX and <= Register.R15D => Register.EAX,
            >= Register.RAX and <= Register.R15 => Register.RAX,
            >= Register.XMM0 and <= Register.XMM15 => Register.XMM0,
            _ => Register.None,
        };
        bool general = first != Register.XMM0;
        return first == Register.None ? null : new FieldOperand
        {
            _order = (byte)(operand + 1),
            _general = (byte)(general ? 1 : 0),
            _written = (byte)(general && written ? 1 : 0),
            _isByte = first == Register.AL,
            First = (byte)first,
        };
    }

    /// <summary>Makes the operand what the field names.</summary>
    /// <param name="number">The field, with the bit of the REX prefix.</param>
    /// <param name="rex">The REX prefix, or 0.</param>
    /// <param name="guest">The instruction.</param>
    /// <param name="named">Gets the bit of a general register.</param>
    /// <param name="written">Likewise, of one that is written.</param>
    public readonly void Put(int number, int rex, ref GuestInstruction guest, ref int named, ref int written)
    {
        var register = (Register)(First + number);
        if (_isByte && number >= 4)
        {
            // SPL to DIL stand behind AH to BH.
            register += rex != 0 ? 4 : 0;
            guest.HasHighByte |= rex == 0;
            number -= rex == 0 ? 4 : 0;
        }

        Note(number, ref named, ref written);
        if (_order == 1)
        {
            guest.Instruction.Op0Register = register;
        }
        else if (_order == 2)
        {
            guest.Instruction.Op1Register = register;
        }
    }

    /// <summary>Sets the register's bit.</summary>
    public readonly void Note(int number, ref int named, ref int written)
    {
        named |= _general << number;
        written |= _written << number;
    }
}
