using Vivarium.Devices;
using Vivarium.Memory;

namespace Vivarium.Display.Tests;

/// <summary>A real card in mode 3, without a font.</summary>
internal sealed class TextCard : IDisposable
{
    private readonly GuestMemory _memory = new(Vga.MemorySize);
    private readonly PortBus _ports = new();
    private readonly MmioBus _mmio = new();
    private readonly Vga _card;
    private readonly TextFrame _frame = new();

    public TextCard()
    {
        _card = new Vga(_memory, new MachineClock());
        _card.Map(_ports, _mmio);
        _ports.Write(0x3C2, 1, 0x67);
        foreach ((ushort port, byte index, byte value) in ((ushort, byte, byte)[])[(0x3C4, 2, 3), (0x3C4, 4, 2), (0x3CE, 5, 0x10), (0x3CE, 6, 0x0E),
            (0x3D4, 1, 79), (0x3D4, 7, 2), (0x3D4, 9, 15), (0x3D4, 0x0A, 13), (0x3D4, 0x0B, 14), (0x3D4, 0x12, 0x8F), (0x3D4, 0x13, 40), (0x3CE, 8, 0xFF)])
        {
            _ports.Write(port, 2, (uint)(value << 8 | index));
        }

        _ports.Write(0x3C0, 1, 0x20);
        for (ulong cell = 0; cell < 80 * 25; cell++)
        {
            _mmio.Write(0xB8000 + (2 * cell), 2, 0x0720);
        }
    }

    public void Write(int row, int column, string text, byte attribute)
    {
        for (int i = 0; i < text.Length; i++)
        {
            _mmio.Write((ulong)(0xB8000 + (2 * ((row * 80) + column + i))), 2, (uint)(attribute << 8 | text[i]));
        }
    }

    public void MoveCursor(int row, int column)
    {
        int place = (row * 80) + column;
        _ports.Write(0x3D4, 2, (uint)(place >> 8 << 8 | 0x0E));
        _ports.Write(0x3D4, 2, (uint)((place & 0xFF) << 8 | 0x0F));
    }

    public void SetGraphics()
    {
        foreach ((ushort index, ushort value) in ((ushort, ushort)[])[(1, 640), (2, 480), (3, 32), (4, 1)])
        {
            _ports.Write(0x1CE, 2, index);
            _ports.Write(0x1CF, 2, value);
        }
    }

    public TextFrame Look()
    {
        _ = _card.Refresh(_frame);
        return _frame;
    }

    public void Dispose() => _memory.Dispose();
}
