using static Vivarium.Devices.VgaRegisters;

namespace Vivarium.Devices;

/// <summary>The colours that the attribute controller and the DAC make of pixels, as 0x00RRGGBB.</summary>
internal sealed class VgaColors(VgaRegisters registers)
{
    private const int BlinkEnable = 1 << 3;
    private const int PaletteSelect = 1 << 7;
    private const int LineGraphics = 1 << 2;
    private const int Monochrome = 1 << 1;

    /// <summary>By pixel, in modes of 256 colours.</summary>
    public uint[] Dac { get; } = new uint[256];

    /// <summary>By pixel, in modes of 16 colours; not masked by the color plane enable register.</summary>
    public uint[] Palette { get; } = new uint[16];

    /// <summary>Bit 7 of a character's attribute means blinking.</summary>
    public bool Blinks => (registers.Attribute[AttributeMode] & BlinkEnable) != 0;

    /// <summary>The ninth dot of characters C0 to DF is their eighth, so that lines are unbroken.</summary>
    public bool JoinsLines => (registers.Attribute[AttributeMode] & LineGraphics) != 0;

    /// <summary>A foreground of 1 is underlined.</summary>
    public bool Underlines => (registers.Attribute[AttributeMode] & Monochrome) != 0;

    public void Update()
    {
        var isEightBit = (registers.Dispi[DispiRegister.Enable] & DispiRegister.EightBitDac) != 0;
        var mask = registers.IsLinear ? 0xFF : registers.PelMask;
        for (var i = 0; i < Dac.Length; i++)
        {
            var entry = registers.Palette.AsSpan((i & mask) * 3, 3);
            Dac[i] = isEightBit
                ? (uint)(entry[0] << 16 | entry[1] << 8 | entry[2])
                : (uint)(Widen(entry[0]) << 16 | Widen(entry[1]) << 8 | Widen(entry[2]));
        }

        int select = registers.Attribute[ColorSelect];
        for (var i = 0; i < Palette.Length; i++)
        {
            var index = registers.Attribute[i] & 0x3F;
            if ((registers.Attribute[AttributeMode] & PaletteSelect) != 0)
                index = (index & 0x0F) | (select & 0x03) << 4;
            Palette[i] = Dac[index | (select & 0x0C) << 4];
        }
    }

    /// <summary>Six bits to eight, so that all ones stay all ones.</summary>
    private static int Widen(byte value) => (value & 0x3F) << 2 | (value >> 4 & 3);
}
