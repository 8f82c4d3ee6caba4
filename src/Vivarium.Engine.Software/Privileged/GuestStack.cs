namespace Vivarium.Engine.Software.Privileged;

/// <summary>The guest's stack as instructions use it (SDM vol. 1, 6.2): the stack segment says how wide the pointer is.</summary>
internal static unsafe class GuestStack
{
    private const int Rsp = 4;
    private const int Ss = 2;

    /// <summary>Bytes of the stack pointer: 8 in 64-bit code, else by SS.B.</summary>
    public static int PointerSize(SoftwareVcpu cpu)
        => cpu.Code64 ? 8 : (cpu.S->Ss.Attributes & SegmentRegister.Big) != 0 ? 4 : 2;

    /// <summary>Pushes a value; RSP changes only if the store does not fault.</summary>
    public static void Push(SoftwareVcpu cpu, int size, ulong value)
    {
        int pointer = PointerSize(cpu);
        ulong top = Truncate(cpu.S->Gpr[Rsp] - (uint)size, pointer);
        cpu.Store(cpu.SegmentedAddress(Ss, top, size, Access.Write), size, value);
        cpu.WriteGpr(Rsp, pointer, top);
    }

    /// <summary>The value at a distance from the top, without popping it.</summary>
    public static ulong Peek(SoftwareVcpu cpu, int size, int distance = 0)
    {
        ulong top = Truncate(cpu.S->Gpr[Rsp] + (uint)distance, PointerSize(cpu));
        return cpu.Load(cpu.SegmentedAddress(Ss, top, size, Access.Read), size);
    }

    /// <summary>Moves the stack pointer up.</summary>
    public static void Drop(SoftwareVcpu cpu, int bytes)
    {
        int pointer = PointerSize(cpu);
        cpu.WriteGpr(Rsp, pointer, cpu.S->Gpr[Rsp] + (uint)bytes);
    }

    public static ulong Truncate(ulong address, int pointerSize) => pointerSize switch
    {
        2 => (ushort)address,
        4 => (uint)address,
        _ => address,
    };
}
