namespace Vivarium.Devices;

/// <summary>The characters of the font that is in the ROM of every PC, and what they are in Unicode.</summary>
public static class CodePage437
{
    private const string Characters =
        " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼" +
        " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~⌂" +
        "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀" +
        "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00A0";

    public static char ToUnicode(byte code) => Characters[code];

    /// <summary>The row of text that these codes show, without blanks at its end.</summary>
    public static string ToText(ReadOnlySpan<byte> codes)
    {
        var length = codes.Length;
        while (length > 0 && codes[length - 1] is 0 or (byte)' ' or 0xFF)
            length--;
        return string.Create(length, codes[..length], static (text, codes) =>
        {
            for (var i = 0; i < text.Length; i++)
                text[i] = ToUnicode(codes[i]);
        });
    }
}
