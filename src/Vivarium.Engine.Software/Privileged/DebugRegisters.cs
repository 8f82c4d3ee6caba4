using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>MOV to and from debug registers (SDM vol. 2B, "MOV - Move to/from Debug Registers"; vol. 3B, 17.2).</summary>
internal static unsafe class DebugRegisters
{
    /// <summary>DR6 bits that read as ones: 4-11 and 16-31 (bit 16, RTM, is inverted and not offered).</summary>
    public const ulong Dr6Fixed = 0xFFFF_0FF0;

    /// <summary>DR7 bit 10 reads as one; 11, 12, 14 and 15 as zeros.</summary>
    public const ulong Dr7Fixed = 1 << 10;

    private const ulong Dr6Writable = 0xE00F;
    private const ulong Dr6AccessDetected = 1 << 13;
    private const ulong Dr7Writable = 0xFFFF_23FF;
    private const ulong Dr7GeneralDetect = 1 << 13;

    public static void Mov(SoftwareVcpu cpu, in Instruction insn)
    {
        NativeState* s = cpu.S;
        bool toDebug = insn.Op0Register.IsDR();
        int index = (toDebug ? insn.Op0Register : insn.Op1Register) - Register.DR0;
        if (index > 7 || (index is 4 or 5 && (s->Cr4 & Cr4Bits.De) != 0))
        {
            throw GuestException.Undefined();
        }

        cpu.RequireRing0();
        if (index is 4 or 5)
        {
            index += 2;
        }

        if ((s->Dr[7] & Dr7GeneralDetect) != 0)
        {
            // The handler may use the registers: GD goes off as the exception is taken.
            s->Dr[6] |= Dr6AccessDetected;
            s->Dr[7] &= ~Dr7GeneralDetect;
            throw new GuestException(Vector.Debug);
        }

        if (toDebug)
        {
            Write(cpu, index, cpu.ReadRegister(insn.Op1Register));
        }
        else
        {
            cpu.WriteRegister(insn.Op0Register, index switch
            {
                6 => (s->Dr[6] & Dr6Writable) | Dr6Fixed,
                7 => s->Dr[7] | Dr7Fixed,
                _ => s->Dr[index],
            });
        }
    }

    private static void Write(SoftwareVcpu cpu, int index, ulong value)
    {
        if (index >= 6 && value >> 32 != 0)
        {
            throw GuestException.Protection();
        }

        cpu.S->Dr[index] = index switch
        {
            6 => (value & Dr6Writable) | Dr6Fixed,
            7 => (value & Dr7Writable) | Dr7Fixed,
            _ => value,
        };
        if (index != 6)
        {
            cpu.UpdateMode();
        }
    }
}
