using Vivarium.Devices;

namespace Vivarium.Display.Tests;

public sealed class TextTests
{
    [Theory]
    [InlineData("a", "A")]
    [InlineData("Z?", "Z+Shift Slash+Shift")]
    [InlineData("\r\t\x7F", "Enter Tab Backspace")]
    [InlineData("\x03\x1A", "C+Control Z+Control")]
    [InlineData("\x1B", "Escape")]
    [InlineData("\x1B\x1B[A", "Escape Up")]
    [InlineData("\x1Bx\x1BX", "X+Alt X+Shift, Alt")]
    [InlineData("\x1B[A\x1BOB\x1B[1;5C\x1B[3~", "Up Down Right+Control Delete")]
    [InlineData("\x1BOP\x1B[15~\x1B[24~\x1B[17;2~\x1B[[B", "F1 F5 F12 F6+Shift F2")]
    [InlineData("\x1B[Z", "Tab+Shift")]
    [InlineData("\x1B[999;999;999~", "")]
    [InlineData("ä", "")]
    public void What_a_terminal_sends_is_understood(string typed, string keys)
    {
        List<string> pressed = [];
        TerminalKeys.Read(System.Text.Encoding.UTF8.GetBytes(typed), stroke => pressed.Add(stroke.Modifiers == 0 ? $"{stroke.Key}" : $"{stroke.Key}+{stroke.Modifiers}"));
        Assert.Equal(keys, string.Join(' ', pressed));
    }

    /// <summary>100,000 pieces of up to 40 bytes, most of them what sequences are made of.</summary>
    [Fact]
    public void Random_input_ends()
    {
        var random = new Random(1);
        byte[] parts = [0x1B, (byte)'[', (byte)'O', (byte)';', (byte)'1', (byte)'9', (byte)'~', (byte)'A', 0xFF, 0];
        for (int i = 0; i < 100_000; i++)
        {
            byte[] typed = new byte[random.Next(1, 40)];
            for (int at = 0; at < typed.Length; at++)
            {
                typed[at] = parts[random.Next(parts.Length)];
            }

            int count = 0;
            TerminalKeys.Read(typed, _ => count++);
            Assert.InRange(count, 0, typed.Length);
        }
    }

    [Fact]
    public void Every_printable_character_has_a_key()
    {
        for (char character = ' '; character < '\x7F'; character++)
        {
            Assert.NotNull(UsKeyboard.Find(character));
        }

        Assert.Equal(new KeyStroke(Key.NonUsBackslash - 0x2B), UsKeyboard.Find('\\'));
        Assert.Equal(new KeyStroke(Key.Backslash, KeyModifiers.Shift), UsKeyboard.Find('|'));
        Assert.Equal(new KeyStroke(Key.Grave, KeyModifiers.Shift), UsKeyboard.Find('~'));
        Assert.Equal(new KeyStroke(Key.Apostrophe, KeyModifiers.Shift), UsKeyboard.Find('"'));
        Assert.Equal(new KeyStroke(Key.Digit2, KeyModifiers.Shift), UsKeyboard.Find('@'));
        Assert.Null(UsKeyboard.Find('é'));
    }

    [Fact]
    public void A_picture_becomes_a_png()
    {
        var frame = new Frame();
        Assert.Throws<ArgumentException>(() => PngWriter.Write(frame, new MemoryStream()));
        new TestScreen(31, 17, (x, y) => (uint)(x * 0x010203 + y * 0x070000) & 0xFFFFFF).Refresh(frame);
        var file = new MemoryStream();
        PngWriter.Write(frame, file);

        (int width, int height, uint[] pixels) = PngReader.Read(file.ToArray());
        Assert.Equal((31, 17), (width, height));
        Assert.Equal(frame.Pixels.ToArray(), pixels);
    }
}
