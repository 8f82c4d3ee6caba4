using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>
/// Decodes guest code from host memory with reused decoders. Each instruction is decoded from a copy of its bytes, for
/// another processor or a device may change them at any moment: what is translated must be what was decoded.
/// </summary>
internal sealed unsafe class GuestCode
{
    private const int MaxInstructionBytes = 15;

    private readonly Reader _reader = new();
    private readonly ulong[] _copy = GC.AllocateUninitializedArray<ulong>((MaxInstructionBytes / 8) + 2, pinned: true);
    private byte* _end;
    private byte* _copied;
    private readonly Decoder _decoder16;
    private readonly Decoder _decoder32;
    private readonly Decoder _decoder64;
    private Decoder _current;

    public GuestCode()
    {
        _decoder16 = Decoder.Create(16, _reader);
        _decoder32 = Decoder.Create(32, _reader);
        _decoder64 = Decoder.Create(64, _reader);
        _current = _decoder64;
    }

    /// <summary>True if the last <see cref="Decode"/> ran out of bytes rather than met something undefined.</summary>
    public bool RanOut => _current.LastError == DecoderError.NoMoreBytes;

    /// <summary>Where the next instruction begins.</summary>
    public byte* Position { get; private set; }

    /// <summary>The last instruction's bytes, as they were decoded; until the next is.</summary>
    public ReadOnlySpan<byte> Bytes => new(_copied, (int)(_reader.Position - _copied));

    public void Start(int bits, ulong rip, byte* bytes, int length)
    {
        _current = bits switch { 16 => _decoder16, 32 => _decoder32, _ => _decoder64 };
        _current.IP = rip;
        Position = bytes;
        _end = bytes + length;
    }

    public void Decode(out Instruction instruction)
    {
        Copy((int)Math.Min(_end - Position, MaxInstructionBytes));
        _current.Decode(out instruction);
        Position += _reader.Position - _copied;
    }

    /// <summary>In aligned pieces, so that what another processor changes by one aligned store is seen before or after it.</summary>
    private void Copy(int length)
    {
        int offset = (int)((ulong)Position & 7);
        var from = (ulong*)(Position - offset);
        for (int i = 0; i * 8 < offset + length; i++)
        {
            _copy[i] = Volatile.Read(ref from[i]);
        }

        _copied = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_copy)) + offset;
        _reader.Position = _copied;
        _reader.End = _copied + length;
    }

    private sealed class Reader : CodeReader
    {
        public byte* Position;
        public byte* End;

        public override int ReadByte() => Position < End ? *Position++ : -1;
    }
}
