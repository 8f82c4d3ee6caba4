using static Vivarium.Devices.VgaRegisters;

namespace Vivarium.Devices;

/// <summary>Makes one scan line of a VGA mode: text, planes, CGA pixels or bytes.</summary>
internal sealed unsafe class VgaRow(VgaRegisters registers, VgaColors colors, byte* memory, int size)
{
    private const int FontStride = 32;
    private const int CursorOff = 1 << 5;
    private const int UnderlineMask = 0x1F;
    private const int UnderlineLocation = 0x14;
    private const byte FirstLineGraphic = 0xC0, LastLineGraphic = 0xDF;

    private readonly uint* _words = (uint*)memory;
    private bool _cursorOn;
    private bool _charactersOn;
    private int _cursor;
    private uint _mask;

    /// <summary>Begins a picture.</summary>
    /// <param name="phase">Of what blinks: bit 0 for the cursor, bit 1 for characters; set while they are off.</param>
    public void Begin(int phase)
    {
        _cursor = registers.CursorAddress;
        _cursorOn = (phase & 1) == 0 && (registers.Crtc[CursorStart] & CursorOff) == 0;
        _charactersOn = (phase & 2) == 0;
        _mask = registers.IsDispiEnabled ? (uint)(size / sizeof(uint)) - 1 : VgaMemory.PlaneSize - 1;
    }

    /// <summary>Draws a scan line, and what is to the right of it as far as it may be shifted into sight.</summary>
    /// <param name="line">From its first dot; what does not fit is left out.</param>
    /// <param name="address">Of its first character.</param>
    /// <param name="rowScan">The scan line within the row.</param>
    public void Draw(Span<uint> line, int address, int rowScan)
    {
        // One more than is shown, for panning.
        var characters = registers.DisplayedCharacters + 1;
        if (!registers.IsGraphics)
        {
            DrawText(line, address, rowScan, characters);
            return;
        }

        characters = Math.Min(characters, line.Length / 8);
        for (var i = 0; i < characters; i++)
        {
            var word = _words[(uint)Interleave(address + i, rowScan) & _mask];
            var dots = line.Slice(i * 8, 8);
            switch (registers.Graphics[GraphicsMode] >> 5 & 3)
            {
                case 0:
                    DrawPlanes(dots, word);
                    break;
                case 1:
                    DrawPairs(dots, word);
                    break;
                default:
                    DrawBytes(dots, word);
                    break;
            }
        }
    }

    /// <summary>The CRT controller can take address bits from the scan line within the row, as the CGA and the Hercules card have it.</summary>
    private int Interleave(int address, int rowScan)
    {
        // Addresses here are those of words where the controller counts words: one bit less.
        var control = registers.Crtc[ModeControl];
        var bit = 12 + (control >> 6 & 1);
        if ((control & 1) == 0)
            address = (address & ~(1 << bit)) | (rowScan & 1) << bit;
        if ((control & 2) == 0)
            address = (address & ~(2 << bit)) | (rowScan & 2) << bit;
        return address;
    }

    private void DrawPlanes(Span<uint> dots, uint word)
    {
        int enabled = registers.Attribute[ColorPlaneEnable] & 0x0F;
        for (var dot = 0; dot < 8; dot++)
        {
            var bits = word >> (7 - dot);
            var pixel = (int)(bits & 1 | bits >> 7 & 2 | bits >> 14 & 4 | bits >> 21 & 8);
            dots[dot] = colors.Palette[pixel & enabled];
        }
    }

    /// <summary>Two bits a pixel: four of plane 0, then four of plane 1; planes 2 and 3 have their upper bits.</summary>
    private void DrawPairs(Span<uint> dots, uint word)
    {
        int enabled = registers.Attribute[ColorPlaneEnable] & 0x0F;
        for (var dot = 0; dot < 8; dot++)
        {
            var bits = word >> (dot < 4 ? 0 : 8) >> (6 - 2 * (dot & 3));
            dots[dot] = colors.Palette[(int)(bits & 3 | bits >> 14 & 0xC) & enabled];
        }
    }

    private void DrawBytes(Span<uint> dots, uint word)
    {
        for (var dot = 0; dot < 8; dot += 2)
        {
            dots[dot] = dots[dot + 1] = colors.Dac[(byte)word];
            word >>= 8;
        }
    }

    private void DrawText(Span<uint> line, int address, int rowScan, int characters)
    {
        var width = registers.CharacterDots;
        int select = registers.Sequencer[CharacterMapSelect];
        int fontA = FontBase((select >> 2 & 3) | (select >> 3 & 4));
        int fontB = FontBase((select & 3) | (select >> 2 & 4));
        int enabled = registers.Attribute[ColorPlaneEnable] & 0x0F;
        var cursorHere = _cursorOn && rowScan >= (registers.Crtc[CursorStart] & 0x1F) && rowScan <= (registers.Crtc[CursorEnd] & 0x1F);
        var underlined = colors.Underlines && rowScan == (registers.Crtc[UnderlineLocation] & UnderlineMask);
        var blinks = colors.Blinks;
        var palette = colors.Palette;
        characters = Math.Min(characters, line.Length / width);
        for (var i = 0; i < characters; i++)
        {
            var place = address + i & (VgaMemory.PlaneSize - 1);
            var word = _words[place];
            var code = (byte)word;
            var attribute = (byte)(word >> 8);

            // Fonts are in plane 2.
            var font = (attribute & 8) != 0 ? fontA : fontB;
            var bits = (int)(byte)(_words[font + code * FontStride + (rowScan & 0x1F) & VgaMemory.PlaneSize - 1] >> 16) << 1;
            if (width == 9 && colors.JoinsLines && code is >= FirstLineGraphic and <= LastLineGraphic)
                bits |= bits >> 1 & 1;
            if (underlined && (attribute & 7) == 1)
                bits = 0x1FF;
            var foreground = palette[attribute & 0x0F & enabled];
            var background = palette[attribute >> 4 & (blinks ? 7 : 15) & enabled];
            if (blinks && (attribute & 0x80) != 0 && !_charactersOn)
                bits = 0;
            if (cursorHere && place == _cursor)
                bits = 0x1FF;
            var dots = line.Slice(i * width, width);
            for (var dot = 0; dot < dots.Length; dot++)
                dots[dot] = (bits & 0x100 >> dot) != 0 ? foreground : background;
        }
    }

    /// <summary>Character maps lie 16 KiB apart, the second four of them between the first (IBM VGA, character map select register).</summary>
    private static int FontBase(int map) => (map & 3) * 0x4000 + (map >> 2) * 0x2000;
}
