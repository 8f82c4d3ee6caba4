using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>INT n, INT3, INTO, INT1 (SDM vol. 2, INT; vol. 3A, 6.4.4 and 20.2.8).</summary>
internal static unsafe class SoftwareInterrupts
{
    public static void Register(delegate*<SoftwareVcpu, in Instruction, void>[] table)
    {
        table[(int)Mnemonic.Int] = &Int;
        table[(int)Mnemonic.Int3] = &Int3;
        table[(int)Mnemonic.Into] = &Into;
        table[(int)Mnemonic.Int1] = &Int1;
    }

    public static void Int(SoftwareVcpu cpu, in Instruction insn)
    {
        // In virtual-8086 mode INT n is IOPL-sensitive, and may be redirected; the other forms are not.
        if (cpu.Virtual8086 && VirtualModeExtensions.TryRedirect(cpu, insn.Immediate8))
        {
            return;
        }

        ExceptionDelivery.Deliver(cpu, insn.Immediate8, null, EventKind.SoftwareInterrupt);
    }

    public static void Int3(SoftwareVcpu cpu, in Instruction insn)
        => ExceptionDelivery.Deliver(cpu, (int)Vector.Breakpoint, null, EventKind.Breakpoint);

    public static void Into(SoftwareVcpu cpu, in Instruction insn)
    {
        if ((cpu.S->ArithmeticFlags & RflagsBits.Of) != 0)
        {
            ExceptionDelivery.Deliver(cpu, (int)Vector.Overflow, null, EventKind.Overflow);
        }
    }

    public static void Int1(SoftwareVcpu cpu, in Instruction insn)
        => ExceptionDelivery.Deliver(cpu, (int)Vector.Debug, null, EventKind.PrivilegedSoftwareException);
}
