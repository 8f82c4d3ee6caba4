using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Iced.Intel;

namespace Vivarium.Engine.Software.Decode;

/// <summary>
/// The decoded instructions of a block: decoded from host memory with reused decoders, into an array that is reused too.
/// They are decoded from a copy of their bytes, for another processor or a device may change them at any moment:
/// what is translated must be what was decoded.
/// </summary>
internal sealed unsafe class GuestCode
{
    /// <summary>Most instructions that can be held.</summary>
    public const int Capacity = 256;

    /// <summary>Most bytes that an instruction may have (SDM vol. 2A, 2.3.11).</summary>
    public const int MaxInstructionBytes = 15;

    /// <summary>Bytes that are copied at once.</summary>
    private const int CopyStep = 32;

    private readonly Reader _reader = new();

    /// <summary>A copy of the bytes from the first instruction on, aligned as they are. What stands behind it may be looked at, but says nothing.</summary>
    private readonly byte[] _copy = GC.AllocateArray<byte>((Capacity * MaxInstructionBytes) + CopyStep + (2 * sizeof(ulong)), pinned: true);
    private readonly GuestInstruction[] _instructions = new GuestInstruction[Capacity];
    private readonly InstructionForms _forms;
    private readonly QuickDecoder? _quick64;
    private readonly Decoder _decoder16;
    private readonly Decoder _decoder32;
    private readonly Decoder _decoder64;
    private Decoder _current;

    /// <summary>In front of it, if there is one for such code.</summary>
    private QuickDecoder? _quick;
    private ulong _ripMask;
    private byte* _start;
    private byte* _position;
    private byte* _end;

    /// <summary>What is to be copied next, aligned, and how far away its copy goes.</summary>
    private byte* _copied;
    private long _toCopy;

    /// <param name="forms">What is known of instructions' forms.</param>
    /// <param name="quick">For those who decode many.</param>
    public GuestCode(InstructionForms forms, bool quick)
    {
        _forms = forms;
        _quick64 = quick ? new QuickDecoder(forms) : null;
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
        _quick = bits == 64 ? _quick64 : null;
        _ripMask = bits == 64 ? ulong.MaxValue : uint.MaxValue;
        _start = bytes;
        _position = bytes;
        _end = bytes + length;
        _copied = bytes - ((ulong)bytes & (sizeof(ulong) - 1));
        _toCopy = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_copy)) - _copied;
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
        byte* position = _position;
        var available = (int)Math.Min(_end - position, MaxInstructionBytes);
        if (position + available > _copied)
        {
            Copy();
        }

        byte* copy = position + _toCopy;
        ulong rip = NextRip;
        next.Bytes = copy;
        next.Rip = rip;
        int length = _quick != null ? _quick.Decode(copy, available, rip, ref next) : 0;
        if (length == 0 && (length = Decode(copy, available, ref next)) == 0)
        {
            return false;
        }

        next.Length = length;
        next.End = (int)(position + length - _start);
        next.NextRip = (rip + (uint)length) & _ripMask;
        NextRip = next.NextRip;
        _position = position + length;
        Count++;
        return true;
    }

    /// <summary>Returns the length; 0 if the bytes end before the instruction does.</summary>
    private int Decode(byte* copy, int available, ref GuestInstruction next)
    {
        _reader.Position = copy;
        _reader.End = copy + available;
        _current.IP = next.Rip;
        _current.Decode(out next.Instruction);
        if (next.Instruction.Code == Code.INVALID && _current.LastError == DecoderError.NoMoreBytes)
        {
            return 0;
        }

        next.Length = (int)(_reader.Position - copy);
        next.Describe(_forms);
        return next.Length;
    }

    /// <summary>In aligned pieces, so that what another processor changes by one aligned store is seen before or after it.</summary>
    private void Copy()
    {
        for (byte* end = _copied + CopyStep; _copied < end && _copied < _end; _copied += sizeof(ulong))
        {
            *(ulong*)(_copied + _toCopy) = Volatile.Read(ref *(ulong*)_copied);
        }
    }

    private sealed class Reader : CodeReader
    {
        public byte* Position;
        public byte* End;

        public override int ReadByte() => Position < End ? *Position++ : -1;
    }
}
