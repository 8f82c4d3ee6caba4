using Iced.Intel;

namespace Vivarium.Engine.Software.Privileged;

/// <summary>A 16-bit selector operand, register or memory.</summary>
internal static class SelectorOperand
{
    public static ushort Read(SoftwareVcpu cpu, in Instruction insn, int operand)
        => insn.GetOpKind(operand) == OpKind.Register
            ? (ushort)cpu.ReadRegister(insn.GetOpRegister(operand))
            : (ushort)cpu.Load(cpu.LinearAddress(insn, 2, Access.Read), 2);
}
