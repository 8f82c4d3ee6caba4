using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>
/// The decoded instructions of a block: decoded from host memory with reused decoders, into an array that is reused too.
/// Each instruction is decoded from a copy of its bytes, for another processor or a device may change them at any moment:
/// what is translated must be what was decoded.
/// </summary>
internal sealed unsafe class GuestCode
{
    /// <summary>Most instructions that can be held.</summary>
    public const int Capacity = 256;

    /// <summary>Most bytes that an instruction may have (SDM vol. 2A, 2.3.11).</summary>
    public const int MaxInstructionBytes = 15;

    /// <summary>Room for an instruction's bytes in aligned words, wherever in a word it begins.</summary>
    private const int CopyWords = 3;

    private readonly Reader _reader = new();
    private readonly ulong[] _copies = GC.AllocateUninitializedArray<ulong>(Capacity * CopyWords, pinned: true);
    private readonly GuestInstruction[] _instructions = new GuestInstruction[Capacity];
    private readonly Decoder _decoder16;
    private readonly Decoder _decoder32;
    private readonly Decoder _decoder64;
    private Decoder _current;
    private ulong _ripMask;
    private byte* _start;
    private byte* _position;
    private byte* _end;

    public GuestCode()
    {
        _decoder16 = Decoder.Create(16, _reader);
        _decoder32 = Decoder.Create(32, _reader);
        _decoder64 = Decoder.Create(64, _reader);
        _current = _decoder64;
    }

    /// <summary>Instructions decoded so far.</summary>
    public int Count { get; private set; }

    /// <summary>RIP of the instruction that would be decoded next.</summary>
    public ulong NextRip { get; private set; }

    public ref readonly GuestInstruction this[int index] => ref _instructions[index];

    /// <summary>Forgets what was decoded, and goes on at other code.</summary>
    public void Start(int bits, ulong rip, byte* bytes, int length)
    {
        _current = bits switch { 16 => _decoder16, 32 => _decoder32, _ => _decoder64 };
        _current.IP = rip;
        _ripMask = bits == 64 ? ulong.MaxValue : uint.MaxValue;
        _start = bytes;
        _position = bytes;
        _end = bytes + length;
        NextRip = rip;
        Count = 0;
    }

    /// <summary>
    /// Decodes one more instruction; what is no instruction is one with <see cref="Code.INVALID"/>. False: the bytes ended
    /// before it did.
    /// </summary>
    public bool TryDecode()
    {
        ref GuestInstruction next = ref _instructions[Count];
        byte* copy = Copy(Count, (int)Math.Min(_end - _position, MaxInstructionBytes));
        _current.Decode(out next.Instruction);
        if (next.Instruction.Code == Code.INVALID && _current.LastError == DecoderError.NoMoreBytes)
        {
            return false;
        }

        next.Bytes = copy;
        next.Length = (int)(_reader.Position - copy);
        next.Rip = NextRip;
        _position += next.Length;
        next.End = (int)(_position - _start);
        next.NextRip = NextRip = (NextRip + (uint)next.Length) & _ripMask;
        Count++;
        return true;
    }

    /// <summary>In aligned pieces, so that what another processor changes by one aligned store is seen before or after it.</summary>
    private byte* Copy(int index, int length)
    {
        int offset = (int)((ulong)_position & 7);
        var from = (ulong*)(_position - offset);
        var to = (ulong*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_copies)) + (index * CopyWords);
        for (int i = 0; i * 8 < offset + length; i++)
        {
            to[i] = Volatile.Read(ref from[i]);
        }

        byte* copy = (byte*)to + offset;
        _reader.Position = copy;
        _reader.End = copy + length;
        return copy;
    }

    private sealed class Reader : CodeReader
    {
        public byte* Position;
        public byte* End;

        public override int ReadByte() => Position < End ? *Position++ : -1;
    }
}
