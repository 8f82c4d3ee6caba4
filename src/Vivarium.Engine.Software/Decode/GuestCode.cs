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

    /// <summary>Bytes that are copied for each instruction; those behind it do not count.</summary>
    private const int CopySize = 16;

    private readonly Reader _reader = new();

    /// <summary>The instructions' bytes, one behind the other.</summary>
    private readonly byte[] _copies = GC.AllocateArray<byte>((Capacity * MaxInstructionBytes) + CopySize, pinned: true);
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

    /// <summary>The one that was decoded last.</summary>
    public ref GuestInstruction Last => ref _instructions[Count - 1];

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
        byte* copy = Copy((int)Math.Min(_end - _position, MaxInstructionBytes));
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
    private byte* Copy(int length)
    {
        int offset = (int)((ulong)_position & 7);
        var from = (ulong*)(_position - offset);
        ulong first = Volatile.Read(ref from[0]);
        ulong second = offset + length > 8 ? Volatile.Read(ref from[1]) : 0;
        if (offset != 0)
        {
            ulong third = offset + length > 16 ? Volatile.Read(ref from[2]) : 0;
            int low = offset * 8;
            int high = 64 - low;
            first = (first >> low) | (second << high);
            second = (second >> low) | (third << high);
        }

        byte* copy = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_copies)) + (_position - _start);
        Unsafe.WriteUnaligned(copy, first);
        Unsafe.WriteUnaligned(copy + 8, second);
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
