using System.Runtime.CompilerServices;
using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>What is often asked of an instruction's operands.</summary>
internal static class Operands
{
    /// <summary>The number of the operand that is in memory at an address of the instruction's own; -1 if none is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int FindMemory(in Instruction instruction)
        => instruction.Op0Kind == OpKind.Memory ? 0
            : instruction.Op1Kind == OpKind.Memory ? 1
            : instruction.Op2Kind == OpKind.Memory ? 2
            : instruction.Op3Kind == OpKind.Memory ? 3
            : -1;
}
