using Iced.Intel;

namespace Vivarium.Engine.Software.Translate;

/// <summary>Encodes one changed guest instruction for the host, straight into the emitter.</summary>
internal sealed class InstructionEncoder
{
    private readonly Encoder _encoder;
    private readonly Emitter _emitter;

    public InstructionEncoder(Emitter emitter)
    {
        _emitter = emitter;
        _encoder = Encoder.Create(64, new Writer(emitter));
    }

    /// <summary>False if the instruction cannot be encoded in 64-bit mode; nothing was written then.</summary>
    public unsafe bool TryEncode(in Instruction instruction)
    {
        byte* start = _emitter.Cursor;
        if (_encoder.TryEncode(instruction, (ulong)_emitter.Here, out _, out _))
        {
            return true;
        }

        _emitter.Cursor = start;
        return false;
    }

    private sealed class Writer(Emitter emitter) : CodeWriter
    {
        public override void WriteByte(byte value) => emitter.Byte(value);
    }
}
