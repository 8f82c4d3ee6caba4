using System.Runtime.CompilerServices;
using static Vivarium.Devices.VgaRegisters;

namespace Vivarium.Devices;

/// <summary>
/// How the processor reaches the display memory through its window at A0000: graphics controller and sequencer with their
/// latches (IBM VGA technical reference). The four planes lie interleaved, one byte of each in a little-endian word of 32 bits,
/// so that all four are one access; and in this order chain 4, and the modes of the display interface, are the memory as it is.
/// </summary>
/// <remarks>
/// As in other models of this card, odd/even and chain 4 number the bytes of a plane without gaps, and so does the CRT
/// controller; a guest sees a difference only if it fills memory in one way and looks at it in another.
/// </remarks>
internal sealed unsafe class VgaMemory(VgaRegisters registers, byte* memory, int size)
{
    /// <summary>In bytes of a plane.</summary>
    public const int PlaneSize = 64 * 1024;

    public const int WindowSize = 128 * 1024;

    private const uint AllBytes = 0x01010101;
    public byte* Bytes => memory;

    /// <summary>A power of two.</summary>
    public int Size => size;

    /// <summary>What was last read from all planes.</summary>
    public uint Latch { get; set; }

    /// <summary>Where the bytes of planes wrap: at 64 KiB, but in modes of the display interface all of the memory is theirs.</summary>
    public uint PlaneMask => registers.IsDispiEnabled ? (uint)(size / sizeof(uint)) - 1 : PlaneSize - 1;

    /// <summary>Where the last access was, in bytes of memory.</summary>
    public int LastAccess { get; private set; }

    /// <summary>What is seen in the window. Says where it begins and how long it is, relative to A0000.</summary>
    public (int Start, int Length) Window => (registers.Misc & EnableRam) == 0 ? (0, 0) : registers.IsLinear ? (0, 0x10000) : (registers.Graphics[Miscellaneous] >> 2 & 3) switch
    {
        0 => (0, 0x20000),
        1 => (0, 0x10000),
        2 => (0x10000, 0x8000),
        _ => (0x18000, 0x8000),
    };

    /// <summary>All that the window does at present is to show memory as it is, from <see cref="BankOffset"/>, to readers and writers.</summary>
    public bool IsPlain => registers.IsLinear || (registers.IsChain4 && registers.Sequencer[MapMask] == 0xF);

    /// <summary>Where in memory the window begins, in bytes.</summary>
    public int BankOffset => registers.IsDispiEnabled ? (int)((uint)registers.Dispi[DispiRegister.Bank] * DispiRegister.BankSize & (uint)(size - 1)) : 0;

    public byte Read(int offset)
    {
        offset += BankOffset;
        if (registers.IsLinear || registers.IsChain4)
        {
            Latch = Word((uint)offset / sizeof(uint));
            return memory[(offset & 3) | LastAccess];
        }

        byte[] graphics = registers.Graphics;
        int plane = graphics[ReadMapSelect] & 3;
        int address = offset;
        if (registers.ReadsOddEven)
        {
            plane = (plane & 2) | (offset & 1);
            address = offset >> 1;
        }

        Latch = Word((uint)address);
        const int readMode1 = 1 << 3;
        if ((graphics[GraphicsMode] & readMode1) == 0)
            return (byte)(Latch >> (8 * plane));

        // A bit is set where all planes that count have the colour that is asked for.
        uint different = (Latch ^ Spread(graphics[ColorCompare])) & Spread(graphics[ColorDontCare]);
        return (byte)~(different | different >> 8 | different >> 16 | different >> 24);
    }

    public void Write(int offset, byte value)
    {
        offset += BankOffset;
        byte planes = registers.IsLinear ? (byte)0xF : registers.Sequencer[MapMask];
        if (registers.IsLinear || registers.IsChain4)
        {
            ref uint pixels = ref Word((uint)offset / sizeof(uint));
            if ((planes & 1 << (offset & 3)) != 0)
                Unsafe.Add(ref Unsafe.As<uint, byte>(ref pixels), offset & 3) = value;
            return;
        }

        int address = offset;
        if (registers.WritesOddEven)
        {
            planes &= (byte)((offset & 1) != 0 ? 0b1010 : 0b0101);
            address = offset >> 1;
        }

        ref uint word = ref Word((uint)address);
        uint mask = Spread(planes);
        word = (word & ~mask) | (Combine(value) & mask);
    }

    private ref uint Word(uint address)
    {
        address &= PlaneMask;
        LastAccess = (int)address * sizeof(uint);
        return ref ((uint*)memory)[address];
    }

    /// <summary>The four planes' bytes for a byte from the processor.</summary>
    private uint Combine(byte value)
    {
        byte[] graphics = registers.Graphics;
        int rotate = graphics[DataRotate] & 7;
        byte rotated = (byte)(value >> rotate | value << (8 - rotate));
        byte bits = graphics[BitMask];
        uint data;
        switch (graphics[GraphicsMode] & 3)
        {
            case 0:
                uint set = Spread(graphics[EnableSetReset]);
                data = (rotated * AllBytes & ~set) | (Spread(graphics[SetReset]) & set);
                break;
            case 1:
                return Latch;
            case 2:
                data = Spread(value);
                break;
            default:
                bits &= rotated;
                data = Spread(graphics[SetReset]);
                break;
        }

        data = (graphics[DataRotate] >> 3 & 3) switch
        {
            1 => data & Latch,
            2 => data | Latch,
            3 => data ^ Latch,
            _ => data,
        };
        uint mask = bits * AllBytes;
        return (data & mask) | (Latch & ~mask);
    }

    /// <summary>Bit n of the low four to all bits of byte n.</summary>
    private static uint Spread(int planes) =>
        (uint)((planes & 1) * 0xFF | (planes >> 1 & 1) * 0xFF00 | (planes >> 2 & 1) * 0xFF0000) | (uint)(planes >> 3 & 1) * 0xFF000000;
}
