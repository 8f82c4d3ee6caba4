using System.Runtime.CompilerServices;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Writes a guest's instruction with other operands: its own bytes, but for the prefixes of segments and of the address size, and
/// for REX, ModR/M, SIB and displacement (SDM vol. 2A, chapter 2).
/// </summary>
internal static unsafe class InstructionRewriter
{
    private const int RexW = 8;

    /// <summary>For a register: the one in the instruction stays.</summary>
    public const int Same = -1;

    /// <summary>With a memory operand somewhere else.</summary>
    /// <param name="emitter">Where to write.</param>
    /// <param name="code">The guest's bytes; the instruction has a ModR/M byte that names memory.</param>
    /// <param name="register">What the register field is to name, or <see cref="Same"/>.</param>
    /// <param name="operand">The memory operand.</param>
    public static void WithMemory(Emitter emitter, ReadOnlySpan<byte> code, int register, in HostOperand operand)
    {
        byte* to = emitter.Cursor;
        int at = CopyPrefixes(code, ref to, out int rex);
        byte* rexPlace = to++;
        at = CopyOpcode(code, at, ref to);
        int modRm = code[at++];
        int reg = register == Same ? ((modRm >> 3) & 7) | ((rex & 4) << 1) : register;
        int indexBit = operand.Index < 0 ? 0 : operand.Index >> 3;
        to = PlaceRex(rexPlace, to, (rex & RexW) | ((reg >> 3) << 2) | (indexBit << 1) | (operand.Base >> 3), rex != 0);

        int mod = modRm >> 6;
        int displacementSize = mod == 1 ? 1 : mod == 2 ? 4 : 0;
        if ((modRm & 7) == 4)
        {
            displacementSize = mod == 0 && (code[at] & 7) == 5 ? 4 : displacementSize;
            at++;
        }
        else if (mod == 0 && (modRm & 7) == 5)
        {
            displacementSize = 4;
        }

        int old = displacementSize switch { 0 => 0, 1 => (sbyte)code[at], _ => Unsafe.ReadUnaligned<int>(in code[at]) };
        at += displacementSize;

        int displacement = operand.Displacement;
        int newMod = displacement == 0 ? ((operand.Base & 7) == 5 ? 1 : 0)
            : displacement == old && displacementSize == 4 ? 2
            : displacement == (sbyte)displacement ? 1 : 2;
        if (operand.Index >= 0 || (operand.Base & 7) == 4)
        {
            *to++ = (byte)((newMod << 6) | ((reg & 7) << 3) | 4);
            *to++ = (byte)(((operand.Index < 0 ? 4 : operand.Index & 7) << 3) | (operand.Base & 7));
        }
        else
        {
            *to++ = (byte)((newMod << 6) | ((reg & 7) << 3) | (operand.Base & 7));
        }

        if (newMod == 1)
        {
            *to++ = (byte)displacement;
        }
        else if (newMod == 2)
        {
            Unsafe.WriteUnaligned(to, displacement);
            to += sizeof(int);
        }

        emitter.Cursor = CopyRest(code, at, to);
    }

    /// <summary>With both operands in registers, that of the stack pointer in its place.</summary>
    /// <param name="emitter">Where to write.</param>
    /// <param name="code">The guest's bytes; the instruction has a ModR/M byte that names no memory.</param>
    /// <param name="general">The register field names a general register.</param>
    public static void WithRegisters(Emitter emitter, ReadOnlySpan<byte> code, bool general)
    {
        byte* to = emitter.Cursor;
        int at = CopyPrefixes(code, ref to, out int rex);
        byte* rexPlace = to++;
        at = CopyOpcode(code, at, ref to);
        int modRm = code[at++];
        int reg = ((modRm >> 3) & 7) | ((rex & 4) << 1);
        reg = general ? Of(reg) : reg;
        int rm = Of((modRm & 7) | ((rex & 1) << 3));
        to = PlaceRex(rexPlace, to, (rex & RexW) | ((reg >> 3) << 2) | (rm >> 3), rex != 0);
        *to++ = (byte)(0xC0 | ((reg & 7) << 3) | (rm & 7));
        emitter.Cursor = CopyRest(code, at, to);
    }

    /// <summary>What stands behind the operands: constants. Returns where to go on.</summary>
    private static byte* CopyRest(ReadOnlySpan<byte> code, int at, byte* to)
    {
        for (; at < code.Length; at++)
        {
            *to++ = code[at];
        }

        return to;
    }

    /// <summary>Returns where the opcode begins. A REX prefix that others follow does not count.</summary>
    private static int CopyPrefixes(ReadOnlySpan<byte> code, ref byte* to, out int rex)
    {
        rex = 0;
        for (int at = 0; ; at++)
        {
            byte value = code[at];
            if (Prefixes.IsRex(value))
            {
                rex = value;
            }
            else if (Prefixes.IsLegacy(value))
            {
                rex = 0;
                if (!Prefixes.IsOfAddress(value))
                {
                    *to++ = value;
                }
            }
            else
            {
                return at;
            }
        }
    }

    private static int CopyOpcode(ReadOnlySpan<byte> code, int at, ref byte* to)
    {
        byte opcode = code[at++];
        *to++ = opcode;
        if (opcode == RegisterFields.TwoByteEscape)
        {
            opcode = code[at++];
            *to++ = opcode;
            if (opcode is 0x38 or 0x3A)
            {
                *to++ = code[at++];
            }
        }

        return at;
    }

    /// <summary>Writes the prefix where it belongs, or closes the gap that was left for it.</summary>
    /// <param name="place">The gap.</param>
    /// <param name="end">Behind the opcode.</param>
    /// <param name="bits">W, R, X, B.</param>
    /// <param name="present">The instruction had one, which names of bytes may need.</param>
    private static byte* PlaceRex(byte* place, byte* end, int bits, bool present)
    {
        if (bits != 0 || present)
        {
            *place = (byte)(Prefixes.Rex | bits);
            return end;
        }

        for (; place + 1 < end; place++)
        {
            *place = place[1];
        }

        return end - 1;
    }
}
