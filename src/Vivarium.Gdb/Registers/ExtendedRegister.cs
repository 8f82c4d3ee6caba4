using Vivarium.Engine;

namespace Vivarium.Gdb.Registers;

/// <summary>Bytes of the XSAVE area: an x87 or vector register.</summary>
/// <param name="Component">The number of its state component (SDM vol. 1, 13.1).</param>
/// <param name="Offset">Where it stands in the area's standard format.</param>
internal sealed record ExtendedRegister(string Name, int Bits, string Type, int Component, int Offset) : Register(Name, Bits, Type)
{
    public override void Read(CpuState state, Span<byte> value)
    {
        if (XsaveArea.IsInUse(state, Component))
        {
            state.Xsave.AsSpan(Offset, Bytes).CopyTo(value);
        }
    }

    public override bool TryWrite(CpuState state, ReadOnlySpan<byte> value)
    {
        XsaveArea.Use(state, Component);
        value.CopyTo(state.Xsave.AsSpan(Offset, Bytes));
        return true;
    }
}
