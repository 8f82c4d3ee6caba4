using System.Runtime.CompilerServices;

namespace Vivarium.Engine.Software.Translate;

/// <summary>How a field of translated code follows from where the guest's code stands and where the translation does.</summary>
internal enum RelocationKind : byte
{
    /// <summary>Eight bytes: the block's RIP + addend.</summary>
    Rip64,

    /// <summary>Four bytes that the processor sign-extends: the block's RIP + addend.</summary>
    Rip32,

    /// <summary>Four bytes: displacement of the jump cache's entry for the block's RIP + addend, from the state pointer.</summary>
    JumpEntry,

    /// <summary>As <see cref="JumpEntry"/>, of the entry's second half: the code address.</summary>
    JumpCode,

    /// <summary>Four bytes: displacement, from behind them, to the thunk at offset addend in the code region.</summary>
    Thunk,

    /// <summary>Four bytes: a copy of those at offset addend in the guest's code, whatever they are there.</summary>
    Immediate,

    /// <summary>
    /// Four bytes that the processor sign-extends: what the four at an offset in the guest's code, which are relative to RIP, lead to from a kernel's
    /// code. The addend is that offset and, from bit 16 on, that of the next instruction.
    /// </summary>
    FarOperand,

    /// <summary>Four bytes: index of the trapped instruction that stands at offset addend in the guest's code.</summary>
    Trap,
}

/// <param name="Offset">Of the field in the translation.</param>
internal readonly record struct Relocation(ushort Offset, RelocationKind Kind, int Addend)
{
    /// <summary>Bytes of the field.</summary>
    public int Width => Kind == RelocationKind.Rip64 ? sizeof(ulong) : sizeof(int);

    /// <summary>Where four bytes of the guest's code stand that may be any; -1: nowhere.</summary>
    public int Masked => Kind switch
    {
        RelocationKind.Immediate => Addend,
        RelocationKind.FarOperand => Addend & 0xFFFF,
        _ => -1,
    };

    /// <summary>A <see cref="RelocationKind.FarOperand"/>.</summary>
    /// <param name="offset">Of the field in the translation.</param>
    /// <param name="at">Where its four bytes stand in the guest's code.</param>
    /// <param name="end">Where the next instruction does.</param>
    public static Relocation ToFarOperand(int offset, int at, int end) => new((ushort)offset, RelocationKind.FarOperand, at | (end << 16));

    /// <summary>What a <see cref="RelocationKind.FarOperand"/> leads to in a block at a RIP.</summary>
    public ulong TargetOf(ulong rip, int displacement) => rip + (uint)(Addend >> 16) + (ulong)(long)displacement;
}

/// <summary>
/// Notes every field of one block's translation that would have another value if the same guest code stood at another
/// RIP, or the translation at another place. All of them have a length that does not depend on the value, but on whether
/// the block's RIP is <see cref="Short"/>.
/// </summary>
internal sealed class Relocations
{
    private const int InitialCapacity = 256;

    private Relocation[] _fields = new Relocation[InitialCapacity];
    private int _count;
    private ulong _rip;

    /// <summary>False: nobody asks, and everything may be as short as it can.</summary>
    public bool Wanted { get; private set; }

    /// <summary>The RIP is one that 32 bits sign-extended can hold, as in kernels and in programs below 2 GiB.</summary>
    public bool Short { get; private set; }

    /// <summary>The block can be moved: everything that depends on its place has been noted.</summary>
    public bool Complete { get; private set; }

    /// <summary>The least and the greatest addend to RIP: with these too, RIP must not wrap, be canonical, and <see cref="Short"/> if it was.</summary>
    public int Lowest { get; private set; }
    public int Highest { get; private set; }

    /// <summary>Where the first <see cref="Relocation.Masked"/> bytes stand in the guest's code, or -1.</summary>
    public int FirstMasked { get; private set; }

    public ReadOnlySpan<Relocation> Fields => _fields.AsSpan(0, _count);

    /// <summary>
    /// An immediate operand may be an address in a Linux kernel's image or its modules, which stand elsewhere at each boot.
    /// </summary>
    public static bool MayBeKernelAddress(ulong immediate) => immediate is >= 0xFFFF_FFFF_8000_0000 and < 0xFFFF_FFFF_F000_0000;

    /// <summary>
    /// An operand relative to RIP that is no place near a kernel's code: a variable of the processor's, by its offset. The kernel changes the
    /// instruction's four bytes at each boot, so that they lead there from wherever it is.
    /// </summary>
    public static bool IsFarOperand(ulong rip, ulong target) => rip >= 0xFFFF_FFFF_8000_0000 && target <= int.MaxValue;

    public static bool IsShort(ulong rip) => (long)rip == (int)rip;

    public void Start(ulong rip, bool wanted)
    {
        _count = 0;
        _rip = rip;
        Wanted = Complete = wanted;
        Short = IsShort(rip);
        Lowest = Highest = 0;
        FirstMasked = -1;
    }

    /// <summary>The block holds something that cannot be noted.</summary>
    public void GiveUp() => Complete = false;

    public void Add(RelocationKind kind, int offset, int addend) => Add(new Relocation((ushort)offset, kind, addend));

    /// <summary>A field with <see cref="Relocation.Masked"/> bytes.</summary>
    public void AddMasked(Relocation field)
    {
        Add(field);
        if (Wanted && FirstMasked < 0)
        {
            FirstMasked = field.Masked;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Add(Relocation field)
    {
        if (!Wanted)
        {
            return;
        }

        if (_count == _fields.Length)
        {
            Array.Resize(ref _fields, _count * 2);
        }

        _fields[_count++] = field;
    }

    /// <summary>A field that depends on a RIP of the guest's.</summary>
    public void AddRip(RelocationKind kind, int offset, ulong rip)
    {
        long addend = (long)(rip - _rip);
        if (addend != (int)addend || (Short ? !IsShort(rip) : !SoftwareVcpu.IsCanonical(rip)) || rip < _rip != addend < 0)
        {
            GiveUp();
            return;
        }

        Lowest = Math.Min(Lowest, (int)addend);
        Highest = Math.Max(Highest, (int)addend);
        Add(kind, offset, (int)addend);
    }
}
