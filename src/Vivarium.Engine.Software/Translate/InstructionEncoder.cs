using Iced.Intel;

namespace Vivarium.Engine.Software.Translate;

/// <summary>Encodes one changed guest instruction for the host, straight into the emitter.</summary>
internal sealed class InstructionEncoder
{
    private readonly Emitter _emitter;

    /// <summary>Made when the first instruction needs it: its tables take longer than all else that an engine begins with, and many are never asked.</summary>
    private Encoder? _encoder;

    public InstructionEncoder(Emitter emitter) => _emitter = emitter;

    /// <summary>False if the instruction cannot be encoded in 64-bit mode; nothing was written then.</summary>
    public unsafe bool TryEncode(in Instruction instruction)
    {
        byte* start = _emitter.Cursor;
        _encoder ??= Encoder.Create(64, new Writer(_emitter));
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
