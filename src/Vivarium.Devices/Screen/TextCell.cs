namespace Vivarium.Devices;

/// <summary>One character on a text screen.</summary>
/// <param name="Code">Its number in the card's font; with the fonts that come with PCs, in code page 437.</param>
/// <param name="Attribute">Foreground colour in bits 0-3, background in bits 4-6, and in bit 7 blinking or a bright background.</param>
/// <param name="Blinks">Bit 7 of the attribute means blinking.</param>
public readonly record struct TextCell(byte Code, byte Attribute, bool Blinks)
{
    /// <summary>The character in Unicode.</summary>
    public char Character => CodePage437.ToUnicode(Code);

    /// <summary>0 to 15, in the order of the CGA: black, blue, green, cyan, red, magenta, brown, light grey, and the same bright.</summary>
    public int Foreground => Attribute & 0x0F;

    /// <summary>Likewise; 0 to 7 where bit 7 means blinking.</summary>
    public int Background => Attribute >> 4 & (Blinks ? 0x07 : 0x0F);

    public bool IsBlinking => Blinks && (Attribute & 0x80) != 0;
}
