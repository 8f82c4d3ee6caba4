using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>
/// Decodes the common instructions of 64-bit code in a fraction of the time that the general decoder takes. What an opcode is with its
/// prefixes, that one says once, of an example; of all others only what names registers, address and constants is read (SDM vol. 2A, 2.1 and 2.2).
/// </summary>
internal sealed unsafe class QuickDecoder
{
    /// <summary>What the fields of an example name. Operands that stand in no field are RAX and RCX.</summary>
    private const int ExampleRegister = 3;
    private const int ExampleRm = 2;

    private const int NoModRm = -1;

    /// <summary>From here on ModR/M bytes name two registers.</summary>
    private const int DirectModRm = 0xC0;

    /// <summary>An example, and zeros for its constants.</summary>
    private const int ExampleBytes = 16;

    private const byte RexW = 8;
    private const byte RexR = 4;
    private const byte RexX = 2;
    private const byte RexB = 1;

    /// <summary>RSP as an index is none; RSP as a base in the ModR/M byte is a SIB byte; RBP as a base without displacement is none.</summary>
    private const int Sib = 4;
    private const int NoBase = 5;

    private const short Unknown = 0;
    private const short Refused = -1;

    private readonly InstructionForms _forms;
    private readonly ExampleReader _reader = new();
    private readonly Decoder _decoder;

    /// <summary>The one-byte map, and behind it the two-byte map.</summary>
    private readonly OpcodeShape[] _shapes = new OpcodeShape[512];

    /// <summary>By prefix, REX.W, opcode, and what counts of the ModR/M byte: the example's number, <see cref="Unknown"/> or <see cref="Refused"/>.</summary>
    private readonly short[] _numbers = new short[1 << 17];
    private Example[] _examples = new Example[256];
    private int _count = Unknown + 1;

    public QuickDecoder(InstructionForms forms)
    {
        _forms = forms;
        _decoder = Decoder.Create(64, _reader);
        for (int opcode = 0; opcode < 256; opcode++)
        {
            _shapes[opcode] = OpcodeShapes.OfOneByte(opcode);
            _shapes[opcode + 256] = OpcodeShapes.OfTwoByte(opcode);
        }
    }

    /// <summary>None; operand size; REPNE; REP; LOCK; FS; GS.</summary>
    private static ReadOnlySpan<byte> KnownPrefixes => [0, 0x66, 0xF2, 0xF3, 0xF0, 0x64, 0x65];

    private static int NumberOf(byte prefix) => KnownPrefixes.IndexOf(prefix);

    /// <summary>
    /// Fills in the instruction and what is known of it, but not where it stands. Returns its length; 0 if it is not one for here, or if
    /// there are fewer bytes.
    /// </summary>
    /// <param name="code">Its bytes; more than are there are looked at, but do not count.</param>
    /// <param name="available">How many are there.</param>
    /// <param name="rip">Where it stands for the guest.</param>
    /// <param name="guest">Is filled in.</param>
    public int Decode(byte* code, int available, ulong rip, ref GuestInstruction guest)
    {
        byte* at = code;
        int opcode = *at++;
        int prefix = 0;
        if (_shapes[opcode] == OpcodeShape.Prefix)
        {
            prefix = NumberOf((byte)opcode);
            opcode = *at++;
        }

        int rex = 0;
        if ((opcode & 0xF0) == Prefixes.Rex)
        {
            rex = opcode;
            opcode = *at++;
        }

        if (opcode == RegisterFields.TwoByteEscape)
        {
            opcode = 0x100 | *at++;
        }

        OpcodeShape shape = _shapes[opcode];
        int key = (prefix << 14) | ((rex & RexW) << 10) | (opcode << 4);
        int modRm = NoModRm;
        if (shape >= OpcodeShape.ModRm)
        {
            modRm = *at++;
            key |= (modRm >= DirectModRm ? 1 : 0) | (shape == OpcodeShape.Group ? (modRm >> 2) & 0xE : 0);
        }

        int number = _numbers[key];
        if (number <= Unknown && (number == Refused || (number = Learn(key, prefix, rex & RexW, opcode, shape, modRm)) == Refused))
        {
            return 0;
        }

        ref readonly Example example = ref _examples[number];
        if ((rex & example.UnusedRex) != 0)
        {
            return 0;
        }

        guest.Instruction = example.Instruction;
        guest.Form = example.Form;
        int named = example.Named;
        int written = example.Written;
        guest.HasHighByte = false;
        var address = default(Address);
        if (modRm >= 0)
        {
            example.Register.Put(((modRm >> 3) & 7) | ((rex & RexR) << 1), rex, ref guest, ref named, ref written);
            if (modRm >= DirectModRm)
            {
                example.Rm.Put((modRm & 7) | ((rex & RexB) << 3), rex, ref guest, ref named, ref written);
            }
            else
            {
                at = PutAddress(ref guest.Instruction, at, modRm, rex, ref address);
            }
        }
        else if (shape == OpcodeShape.Register)
        {
            example.Rm.Put((opcode & 7) | ((rex & RexB) << 3), rex, ref guest, ref named, ref written);
        }

        guest.Named = (ushort)named;
        guest.Written = (ushort)written;
        int length = (int)(at - code) + example.ConstantSize;
        if (length > available)
        {
            return 0;
        }

        // A jump's target stands where displacements do, and an instruction has one of them.
        int constant = *(int*)at;
        ulong next = rip + (uint)length;
        ulong distance = (ulong)(long)(constant << example.DistanceShift >> example.DistanceShift) & example.Branches;
        guest.Instruction.MemoryDisplacement64 = address.Displacement + distance + (next & (address.Relative | example.Branches));
        guest.Instruction.Immediate32 = example.Instruction.Immediate32 | ((uint)constant & example.ImmediateMask);
        guest.Instruction.Length = length;
        guest.Instruction.NextIP = next;
        return length;
    }

    /// <summary>Puts base and index; returns where the bytes go on.</summary>
    private static byte* PutAddress(ref Instruction instruction, byte* at, int modRm, int rex, ref Address address)
    {
        int mode = modRm >> 6;
        int number = modRm & 7;
        bool relative = true;
        if (number == Sib)
        {
            int sib = *at++;
            number = sib & 7;
            relative = false;
            int index = ((sib >> 3) & 7) | ((rex & RexX) << 2);
            if (index != Sib)
            {
                instruction.MemoryIndex = Register.RAX + index;
            }

            instruction.MemoryIndexScale = 1 << (sib >> 6);
        }

        if (mode == 0)
        {
            if (number != NoBase)
            {
                instruction.MemoryBase = Register.RAX + (number | ((rex & RexB) << 3));
                return at;
            }

            instruction.MemoryBase = relative ? Register.RIP : Register.None;
            address.Relative = relative ? ulong.MaxValue : 0;
        }
        else
        {
            instruction.MemoryBase = Register.RAX + (number | ((rex & RexB) << 3));
            if (mode == 1)
            {
                address.Displacement = (ulong)*(sbyte*)at;
                instruction.MemoryDisplSize = sizeof(byte);
                return at + sizeof(byte);
            }
        }

        address.Displacement = (ulong)*(int*)at;
        instruction.MemoryDisplSize = sizeof(ulong);
        return at + sizeof(int);
    }

    /// <summary>Makes the example of a key; returns its number, or <see cref="Refused"/>.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private short Learn(int key, int prefix, int rexW, int opcode, OpcodeShape shape, int modRm)
    {
        if (shape is OpcodeShape.Other or OpcodeShape.Prefix)
        {
            return _numbers[key] = Refused;
        }

        byte[] code = _reader.Code;
        Array.Clear(code);
        int at = 0;
        if (prefix != 0)
        {
            code[at++] = KnownPrefixes[prefix];
        }

        if (rexW != 0)
        {
            code[at++] = Prefixes.Rex | RexW;
        }

        if (opcode > byte.MaxValue)
        {
            code[at++] = RegisterFields.TwoByteEscape;
        }

        code[at++] = (byte)(shape == OpcodeShape.Register ? (opcode & ~7) | ExampleRm : opcode);
        if (shape >= OpcodeShape.ModRm)
        {
            int middle = shape == OpcodeShape.Group ? modRm & 0x38 : ExampleRegister << 3;
            code[at++] = (byte)((modRm >= DirectModRm ? DirectModRm : 0) | middle | ExampleRm);
        }

        _reader.Position = 0;
        _decoder.IP = 0;
        _decoder.Decode(out Instruction instruction);
        short number = Refused;
        if (instruction.Code != Code.INVALID && ExampleOf(instruction, shape, modRm >= DirectModRm) is { } example)
        {
            if (_count == _examples.Length)
            {
                Array.Resize(ref _examples, _count * 2);
            }

            number = (short)_count++;
            _examples[number] = example;
        }

        _numbers[key] = number;
        return number;
    }

    private Example? ExampleOf(in Instruction instruction, OpcodeShape shape, bool direct)
    {
        fixed (byte* code = _reader.Code)
        {
            InstructionForm form = _forms.Get(new GuestInstruction { Instruction = instruction, Bytes = code, Length = instruction.Length });
            bool hasRm = shape == OpcodeShape.Register || (shape >= OpcodeShape.ModRm && direct);
            Example? example = Example.Of(instruction, form, _decoder.GetConstantOffsets(instruction), shape == OpcodeShape.ModRm ? ExampleRegister : -1, hasRm ? ExampleRm : -1);

            // A bit of REX for a field that there is not makes another instruction of some (NOP).
            return example == null ? null : example.Value with { UnusedRex = shape switch { OpcodeShape.Plain => RexB, OpcodeShape.Group => RexR, _ => 0 } };
        }
    }

    /// <summary>What is added up to an instruction's displacement.</summary>
    private struct Address
    {
        public ulong Displacement;

        /// <summary>All ones if the next instruction's RIP is added.</summary>
        public ulong Relative;
    }

    private sealed class ExampleReader : CodeReader
    {
        public readonly byte[] Code = new byte[ExampleBytes];
        public int Position;

        public override int ReadByte() => Position < Code.Length ? Code[Position++] : -1;
    }
}
