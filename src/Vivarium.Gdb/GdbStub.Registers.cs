using Vivarium.Engine;
using Vivarium.Gdb.Registers;

namespace Vivarium.Gdb;

// 'g', 'G', 'p', 'P'.
internal sealed partial class GdbStub
{
    private const int LargestRegister = 16;

    private void ReadRegisters()
    {
        foreach (Register register in _registers.All)
        {
            WriteValue(register, _general);
        }
    }

    /// <summary>Registers that cannot be changed from outside, and stand among the others here, are left as they are.</summary>
    private void WriteRegisters(ReadOnlySpan<byte> digits)
    {
        Span<byte> values = new byte[_registers.Size];
        if (!Hex.TryDecode(digits, values))
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return;
        }

        CpuState state = _processors[_general];
        foreach (Register register in _registers.All)
        {
            _ = register.TryWrite(state, values[..register.Bytes]);
            values = values[register.Bytes..];
        }

        _processors.NoteChange(_general);
        _ = _reply.Ok();
    }

    private void ReadRegister(PacketCursor cursor)
    {
        if (cursor.TryTakeNumber(_registers.All.Count - 1, out int number) && cursor.AtEnd)
        {
            WriteValue(_registers.All[number], _general);
        }
        else
        {
            _ = _reply.Error(ErrorNumber.Invalid);
        }
    }

    private void WriteRegister(PacketCursor cursor)
    {
        Span<byte> value = stackalloc byte[LargestRegister];
        if (cursor.TryTakeNumber(_registers.All.Count - 1, out int number) && cursor.Take('=')
            && _registers.All[number] is var register && Hex.TryDecode(cursor.Rest, value[..register.Bytes])
            && register.TryWrite(_processors[_general], value[..register.Bytes]))
        {
            _processors.NoteChange(_general);
            _ = _reply.Ok();
        }
        else
        {
            _ = _reply.Error(ErrorNumber.Invalid);
        }
    }

    private void WriteValue(Register register, int processor)
    {
        Span<byte> value = stackalloc byte[LargestRegister];
        value.Clear();
        register.Read(_processors[processor], value[..register.Bytes]);
        _ = _reply.Bytes(value[..register.Bytes]);
    }
}
