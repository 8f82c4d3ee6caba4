using Vivarium.Memory;

namespace Vivarium.Devices.Tests;

/// <summary>A video card on buses, programmed as a VGA BIOS does (mode tables of the IBM VGA technical reference).</summary>
internal sealed class VgaBoard : IDisposable
{
    public const ulong Window = 0xA0000;
    public const ulong Text = 0xB8000;

    public static readonly VgaMode Mode3 = new(0x67,
        "03 00 03 00 02",
        "5F 4F 50 82 55 81 BF 1F 00 4F 0D 0E 00 00 00 00 9C 8E 8F 28 1F 96 B9 A3 FF",
        "00 00 00 00 00 10 0E 00 FF",
        "00 01 02 03 04 05 14 07 38 39 3A 3B 3C 3D 3E 3F 0C 00 0F 08 00");

    public static readonly VgaMode Mode4 = new(0x63,
        "03 09 03 00 02",
        "2D 27 28 90 2B 80 BF 1F 00 C1 00 00 00 00 00 00 9C 8E 8F 14 00 96 B9 A2 FF",
        "00 00 00 00 00 30 0F 0F FF",
        "00 13 15 17 02 04 06 07 10 11 12 13 14 15 16 17 01 00 03 00 00");

    public static readonly VgaMode Mode6 = new(0x63,
        "03 01 01 00 06",
        "5F 4F 50 82 54 80 BF 1F 00 C1 00 00 00 00 00 00 9C 8E 8F 28 00 96 B9 C2 FF",
        "00 00 00 00 00 00 0D 0F FF",
        "00 17 17 17 17 17 17 17 17 17 17 17 17 17 17 17 01 00 01 00 00");

    public static readonly VgaMode Mode0D = new(0x63,
        "03 09 0F 00 06",
        "2D 27 28 90 2B 80 BF 1F 00 C0 00 00 00 00 00 00 9C 8E 8F 14 00 96 B9 E3 FF",
        "00 00 00 00 00 00 05 0F FF",
        "00 01 02 03 04 05 06 07 10 11 12 13 14 15 16 17 01 00 0F 00 00");

    public static readonly VgaMode Mode12 = new(0xE3,
        "03 01 0F 00 06",
        "5F 4F 50 82 54 80 0B 3E 00 40 00 00 00 00 00 00 EA 8C DF 28 00 E7 04 E3 FF",
        "00 00 00 00 00 00 05 0F FF",
        "00 01 02 03 04 05 14 07 38 39 3A 3B 3C 3D 3E 3F 01 00 0F 00 00");

    public static readonly VgaMode Mode13 = new(0x63,
        "03 01 0F 00 0E",
        "5F 4F 50 82 54 80 BF 1F 00 41 00 00 00 00 00 00 9C 8E 8F 28 40 96 B9 A3 FF",
        "00 00 00 00 00 40 05 0F FF",
        "00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 41 00 0F 00 00");

    /// <summary>320 by 240 pixels in planes, which no BIOS sets.</summary>
    public static readonly VgaMode ModeX = new(0xE3,
        "03 01 0F 00 06",
        "5F 4F 50 82 54 80 0D 3E 00 41 00 00 00 00 00 00 EA AC DF 28 00 E7 06 E3 FF",
        "00 00 00 00 00 40 05 0F FF",
        "00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 41 00 0F 00 00");

    private const ulong Capacity = Devices.Vga.MemorySize;

    public VgaBoard()
    {
        Memory = new GuestMemory(Capacity);
        Clock = new MachineClock(Time);
        Clock.Resume();
        Card = new Vga(Memory, Clock);
        Card.Map(Ports, Mmio);
    }

    public ManualTime Time { get; } = new();

    public MachineClock Clock { get; }

    public GuestMemory Memory { get; }

    public PortBus Ports { get; } = new();

    public MmioBus Mmio { get; } = new();

    public Vga Card { get; }

    public Frame Frame { get; } = new();

    public TextFrame TextFrame { get; } = new();

    public byte In(ushort port) => (byte)Ports.Read(port, 1);

    public void Out(ushort port, byte value) => Ports.Write(port, 1, value);

    /// <summary>Writes a register behind an index.</summary>
    public void Set(ushort port, byte index, byte value) => Ports.Write(port, 2, (uint)(value << 8 | index));

    public void Dispi(ushort index, ushort value)
    {
        Ports.Write(0x1CE, 2, index);
        Ports.Write(0x1CF, 2, value);
    }

    public ushort Dispi(ushort index)
    {
        Ports.Write(0x1CE, 2, index);
        return (ushort)Ports.Read(0x1CF, 2);
    }

    public byte Peek(ulong address) => (byte)Mmio.Read(address, 1);

    public void Poke(ulong address, byte value) => Mmio.Write(address, 1, value);

    public void SetMode(VgaMode mode)
    {
        Out(0x3C2, mode.Misc);
        for (var i = 0; i < mode.Sequencer.Length; i++)
            Set(0x3C4, (byte)i, mode.Sequencer[i]);
        Set(0x3D4, 0x11, 0x0E);
        for (var i = 0; i < mode.Crtc.Length; i++)
            Set(0x3D4, (byte)i, mode.Crtc[i]);
        for (var i = 0; i < mode.Graphics.Length; i++)
            Set(0x3CE, (byte)i, mode.Graphics[i]);
        In(0x3DA);
        for (var i = 0; i < mode.Attribute.Length; i++)
        {
            Out(0x3C0, (byte)i);
            Out(0x3C0, mode.Attribute[i]);
        }

        Out(0x3C6, 0xFF);
        Out(0x3C8, 0);
        for (var i = 0; i < 64; i++)
        {
            // The colours of the EGA: two bits each.
            Out(0x3C9, (byte)((i >> 2 & 1) * 0x2A + (i >> 5 & 1) * 0x15));
            Out(0x3C9, (byte)((i >> 1 & 1) * 0x2A + (i >> 4 & 1) * 0x15));
            Out(0x3C9, (byte)((i & 1) * 0x2A + (i >> 3 & 1) * 0x15));
        }

        Out(0x3C0, 0x20);
    }

    /// <summary>Loads characters of 16 rows into the first character map, as a BIOS does.</summary>
    public void LoadFont(byte first, ReadOnlySpan<byte> glyphs)
    {
        Set(0x3C4, 2, 4);
        Set(0x3C4, 4, 7);
        Set(0x3CE, 5, 0);
        Set(0x3CE, 6, 4);
        for (var i = 0; i < glyphs.Length; i++)
            Poke(Window + (ulong)((first + i / 16) * 32 + i % 16), glyphs[i]);
        Set(0x3C4, 2, 3);
        Set(0x3C4, 4, 2);
        Set(0x3CE, 5, 0x10);
        Set(0x3CE, 6, 0x0E);
    }

    public void Write(int row, int column, string text, byte attribute = 7)
    {
        for (var i = 0; i < text.Length; i++)
            Mmio.Write(Text + (ulong)((row * 80 + column + i) * 2), 2, (uint)(attribute << 8 | text[i]));
    }

    /// <summary>As a BIOS does when a line is full: copies the rows up, and clears the last.</summary>
    public void ScrollUp()
    {
        const ulong row = 160;
        for (ulong i = 0; i < 24 * row; i += 2)
            Mmio.Write(Text + i, 2, Mmio.Read(Text + i + row, 2));
        for (ulong i = 24 * row; i < 25 * row; i += 2)
            Mmio.Write(Text + i, 2, 0x0720);
    }

    public void ClearText()
    {
        for (ulong i = 0; i < 80 * 25 * 2; i += 2)
            Mmio.Write(Text + i, 2, 0x0720);
    }

    public uint Pixel(int x, int y)
    {
        Card.Refresh(Frame);
        return Frame.Row(y)[x];
    }

    public void Dispose() => Memory.Dispose();
}

/// <summary>The registers of a mode.</summary>
internal sealed record VgaMode(byte Misc, byte[] Sequencer, byte[] Crtc, byte[] Graphics, byte[] Attribute)
{
    public VgaMode(byte misc, string sequencer, string crtc, string graphics, string attribute)
        : this(misc, Bytes(sequencer), Bytes(crtc), Bytes(graphics), Bytes(attribute))
    {
    }

    private static byte[] Bytes(string text) => Convert.FromHexString(text.Replace(" ", "", StringComparison.Ordinal));
}
