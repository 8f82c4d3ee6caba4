using System.Buffers;
using System.Text;

namespace Vivarium.Gdb;

/// <summary>A packet to the client while it is written.</summary>
internal sealed class Reply
{
    private readonly ArrayBufferWriter<byte> _data = new(1024);

    public ReadOnlySpan<byte> Data => _data.WrittenSpan;

    public void Clear() => _data.ResetWrittenCount();

    public Reply Text(ReadOnlySpan<byte> text)
    {
        _data.Write(text);
        return this;
    }

    public Reply Text(string text)
    {
        _ = Encoding.UTF8.GetBytes(text, _data);
        return this;
    }

    public Reply Ok() => Text("OK"u8);

    /// <summary>The numbers mean nothing to GDB; these are those of errno.</summary>
    public Reply Error(ErrorNumber number) => Text("E"u8).Bytes([(byte)number]);

    public Reply Number(ulong value) => Text(value.ToString("x"));

    /// <summary>Two digits for each byte.</summary>
    public Reply Bytes(ReadOnlySpan<byte> bytes)
    {
        Span<byte> digits = _data.GetSpan(bytes.Length * 2);
        for (int i = 0; i < bytes.Length; i++)
        {
            digits[i * 2] = Hex.Character(bytes[i] >> 4);
            digits[(i * 2) + 1] = Hex.Character(bytes[i] & 0xF);
        }

        _data.Advance(bytes.Length * 2);
        return this;
    }

    /// <summary>Bytes as they are, those with a meaning in the protocol escaped.</summary>
    public Reply Binary(ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
        {
            if (value is (byte)'#' or (byte)'$' or (byte)'}' or (byte)'*')
            {
                _data.Write([(byte)'}', (byte)(value ^ 0x20)]);
            }
            else
            {
                _data.Write([value]);
            }
        }

        return this;
    }

    /// <summary>The whole packet as it goes over the line.</summary>
    public byte[] Frame()
    {
        byte sum = 0;
        foreach (byte value in Data)
        {
            sum += value;
        }

        return [(byte)'$', .. Data, (byte)'#', Hex.Character(sum >> 4), Hex.Character(sum & 0xF)];
    }
}

/// <summary>Why a packet was refused.</summary>
internal enum ErrorNumber : byte
{
    NoSuchThread = 3,
    Fault = 14,
    Invalid = 22,
    TooMany = 28,
}
