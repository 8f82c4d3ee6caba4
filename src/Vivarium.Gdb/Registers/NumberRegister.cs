using System.Buffers.Binary;
using Vivarium.Engine;

namespace Vivarium.Gdb.Registers;

/// <summary>A register that is a number of at most 64 bits.</summary>
/// <param name="Get">Its value.</param>
/// <param name="Set">Changes it, or refuses by returning false; null refuses every value but the present one.</param>
internal sealed record NumberRegister(string Name, int Bits, string Type, Func<CpuState, ulong> Get, Func<CpuState, ulong, bool>? Set = null) : Register(Name, Bits, Type)
{
    public override void Read(CpuState state, Span<byte> value)
    {
        Span<byte> number = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(number, Get(state));
        number[..Bytes].CopyTo(value);
    }

    public override bool TryWrite(CpuState state, ReadOnlySpan<byte> value)
    {
        Span<byte> number = stackalloc byte[sizeof(ulong)];
        number.Clear();
        value.CopyTo(number);
        ulong wanted = BinaryPrimitives.ReadUInt64LittleEndian(number);
        ulong mask = Bits == 64 ? ulong.MaxValue : (1ul << Bits) - 1;
        return (Get(state) & mask) == wanted || (Set is not null && Set(state, wanted));
    }
}
