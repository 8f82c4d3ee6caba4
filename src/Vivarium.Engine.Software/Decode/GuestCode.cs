using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>Decodes guest code from host memory with reused decoders.</summary>
internal sealed unsafe class GuestCode
{
    private readonly Reader _reader = new();
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

    /// <summary>Where the next byte is read.</summary>
    public byte* Position => _reader.Position;

    public void Start(int bits, ulong rip, byte* bytes, int length)
    {
        _current = bits switch { 16 => _decoder16, 32 => _decoder32, _ => _decoder64 };
        _current.IP = rip;
        _reader.Position = bytes;
        _reader.End = bytes + length;
    }

    public void Decode(out Instruction instruction) => _current.Decode(out instruction);

    private sealed class Reader : CodeReader
    {
        public byte* Position;
        public byte* End;

        public override int ReadByte() => Position < End ? *Position++ : -1;
    }
}
