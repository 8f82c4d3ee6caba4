using System.Numerics;
using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>
/// AAA, AAS, AAM, AAD, DAA, DAS (SDM vol. 2A), which 64-bit mode lacks. Flags that the manual leaves undefined follow
/// the result; OF is cleared.
/// </summary>
internal static unsafe class DecimalAdjust
{
    private const int Rax = 0;

    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Aaa] = &Aaa;
        table[(int)Mnemonic.Aas] = &Aas;
        table[(int)Mnemonic.Aam] = &Aam;
        table[(int)Mnemonic.Aad] = &Aad;
        table[(int)Mnemonic.Daa] = &Daa;
        table[(int)Mnemonic.Das] = &Das;
    }

    private static void Aaa(SoftwareVcpu cpu, in Instruction insn) => AdjustUnpacked(cpu, 0x106);

    private static void Aas(SoftwareVcpu cpu, in Instruction insn) => AdjustUnpacked(cpu, -0x106);

    private static void AdjustUnpacked(SoftwareVcpu cpu, int correction)
    {
        int ax = (ushort)cpu.S->Gpr[Rax];
        bool adjust = (ax & 0xF) > 9 || IsSet(cpu, RflagsBits.Af);
        if (adjust)
        {
            ax += correction;
        }

        ax &= 0xFF0F;
        cpu.WriteGpr(Rax, 2, (ulong)ax);
        SetFlags(cpu, (byte)ax, carry: adjust, auxiliary: adjust);
    }

    private static void Aam(SoftwareVcpu cpu, in Instruction insn)
    {
        int divisor = insn.Immediate8;
        if (divisor == 0)
        {
            cpu.Raise(Vector.DivideError);
            return;
        }

        int al = (byte)cpu.S->Gpr[Rax];
        cpu.WriteGpr(Rax, 2, (ulong)((al / divisor << 8) | (al % divisor)));
        SetFlags(cpu, (byte)(al % divisor), carry: false, auxiliary: false);
    }

    private static void Aad(SoftwareVcpu cpu, in Instruction insn)
    {
        int ax = (ushort)cpu.S->Gpr[Rax];
        byte al = (byte)(ax + ((ax >> 8) * insn.Immediate8));
        cpu.WriteGpr(Rax, 2, al);
        SetFlags(cpu, al, carry: false, auxiliary: false);
    }

    private static void Daa(SoftwareVcpu cpu, in Instruction insn)
    {
        int old = (byte)cpu.S->Gpr[Rax];
        bool low = (old & 0xF) > 9 || IsSet(cpu, RflagsBits.Af);
        bool high = old > 0x99 || IsSet(cpu, RflagsBits.Cf);
        byte al = (byte)(old + (low ? 6 : 0) + (high ? 0x60 : 0));
        cpu.WriteGpr(Rax, 1, al);
        SetFlags(cpu, al, carry: high, auxiliary: low);
    }

    private static void Das(SoftwareVcpu cpu, in Instruction insn)
    {
        int old = (byte)cpu.S->Gpr[Rax];
        bool low = (old & 0xF) > 9 || IsSet(cpu, RflagsBits.Af);
        bool high = old > 0x99 || IsSet(cpu, RflagsBits.Cf);
        byte al = (byte)(old - (low ? 6 : 0) - (high ? 0x60 : 0));
        cpu.WriteGpr(Rax, 1, al);
        // The first correction may borrow as well.
        SetFlags(cpu, al, carry: high || (low && old < 6), auxiliary: low);
    }

    private static bool IsSet(SoftwareVcpu cpu, ulong flag) => (cpu.S->ArithmeticFlags & flag) != 0;

    private static void SetFlags(SoftwareVcpu cpu, byte result, bool carry, bool auxiliary)
        => cpu.S->ArithmeticFlags = (carry ? RflagsBits.Cf : 0)
            | (auxiliary ? RflagsBits.Af : 0)
            | (result == 0 ? RflagsBits.Zf : 0)
            | (result >= 0x80 ? RflagsBits.Sf : 0)
            | ((BitOperations.PopCount(result) & 1) == 0 ? RflagsBits.Pf : 0);
}
