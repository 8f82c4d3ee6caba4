using Vivarium.Memory;

namespace Vivarium.Gdb;

// 'm', 'M', 'X': by linear address through the chosen processor's page tables, or by physical address.
internal sealed partial class GdbStub
{
    private void ReadMemory(PacketCursor cursor)
    {
        if (!cursor.TryTakeNumber(out ulong address) || !cursor.Take(',') || !cursor.TryTakeNumber(out ulong length) || !cursor.AtEnd)
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return;
        }

        // A shorter answer is allowed, as it is where memory ends.
        Span<byte> buffer = new byte[(int)Math.Min(length, MaxPacketData / 2)];
        int got = 0;
        while (got < buffer.Length && TryAccess(address + (ulong)got, buffer.Length - got, out ulong gpa, out int part)
            && _target.Memory.TryRead(gpa, buffer.Slice(got, part)))
        {
            got += part;
        }

        _ = got == 0 && length != 0 ? _reply.Error(ErrorNumber.Fault) : _reply.Bytes(buffer[..got]);
    }

    private void WriteMemory(PacketCursor cursor, bool binary)
    {
        if (!cursor.TryTakeNumber(out ulong address) || !cursor.Take(',') || !cursor.TryTakeNumber(MaxPacketData, out int length) || !cursor.Take(':'))
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return;
        }

        Span<byte> data = new byte[length];
        if (!(binary ? TryUnescape(cursor.Rest, data) : Hex.TryDecode(cursor.Rest, data)))
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return;
        }

        // Nothing is written if not all can be.
        for (int checkedBytes = 0, part; checkedBytes < length; checkedBytes += part)
        {
            if (!TryAccess(address + (ulong)checkedBytes, length - checkedBytes, out ulong gpa, out part) || !_target.Memory.IsBacked(gpa, (ulong)part))
            {
                _ = _reply.Error(ErrorNumber.Fault);
                return;
            }
        }

        while (!data.IsEmpty && TryAccess(address, data.Length, out ulong gpa, out int part) && _target.Memory.TryWrite(gpa, data[..part]))
        {
            data = data[part..];
            address += (ulong)part;
        }

        _ = _reply.Ok();
    }

    /// <summary>Where an address is in physical memory, and how many bytes on from it are in the same page.</summary>
    private bool TryAccess(ulong address, int length, out ulong gpa, out int part)
    {
        part = (int)Math.Min((ulong)length, GuestMemory.PageSize - (address & GuestMemory.PageMask));
        gpa = address;
        return _physical || _target.Processors[_general].TryTranslate(address, out gpa);
    }

    /// <summary>'}' makes the byte behind it another.</summary>
    private static bool TryUnescape(ReadOnlySpan<byte> escaped, Span<byte> data)
    {
        int length = 0;
        for (int i = 0; i < escaped.Length; i++)
        {
            byte value = escaped[i];
            if (value == '}')
            {
                if (++i == escaped.Length)
                {
                    return false;
                }

                value = (byte)(escaped[i] ^ 0x20);
            }

            if (length == data.Length)
            {
                return false;
            }

            data[length++] = value;
        }

        return length == data.Length;
    }
}
