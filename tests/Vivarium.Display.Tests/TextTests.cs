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

    /// <summary>20,000 pieces of up to 40 bytes, most of them what sequences are made of.</summary>
    [Fact]
    public void Random_input_ends()
    {
        var random = new Random(1);
        byte[] parts = [0x1B, (byte)'[', (byte)'O', (byte)';', (byte)'1', (byte)'9', (byte)'~', (byte)'A', 0xFF, 0];
        for (int i = 0; i < 20_000; i++)
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
            Assert.NotNull(KeyStroke.For(character));
        }

        Assert.Equal(new KeyStroke(Key.NonUsBackslash - 0x2B), KeyStroke.For('\\'));
        Assert.Equal(new KeyStroke(Key.Backslash, KeyModifiers.Shift), KeyStroke.For('|'));
        Assert.Equal(new KeyStroke(Key.Grave, KeyModifiers.Shift), KeyStroke.For('~'));
        Assert.Equal(new KeyStroke(Key.Apostrophe, KeyModifiers.Shift), KeyStroke.For('"'));
        Assert.Equal(new KeyStroke(Key.Digit2, KeyModifiers.Shift), KeyStroke.For('@'));
        Assert.Null(KeyStroke.For('é'));
    }

    [Fact]
    public void A_terminal_is_told_only_what_has_changed()
    {
        using var card = new TextCard();
        var painter = new TextPainter();
        card.Write(1, 3, "Hi", 0x1E);
        string first = painter.Paint(card.Look(), 80, 25);
        Assert.Contains("\x1B[?1049h", first);
        Assert.Contains("\x1B[0;93;44mHi", first);

        Assert.Equal("", painter.Paint(card.Look(), 80, 25));
        card.Write(1, 4, "o", 0x1E);
        Assert.Equal("\x1B[?25l\x1B[2;5H\x1B[0;93;44mo\x1B[?25l", painter.Paint(card.Look(), 80, 25).Replace("\x1B[1;1H\x1B[?25h", "\x1B[?25l", StringComparison.Ordinal));
    }

    [Fact]
    public void A_small_terminal_shows_the_part_with_the_cursor()
    {
        using var card = new TextCard();
        for (int row = 0; row < 25; row++)
        {
            card.Write(row, 0, $"row {row:D2}", 7);
        }

        card.MoveCursor(24, 5);
        string shown = new TextPainter().Paint(card.Look(), 40, 10);
        Assert.Contains("\x1B[10;1H\x1B[0;37;40mrow 24", shown);
        Assert.DoesNotContain("row 14", shown);
        Assert.Contains("row 15", shown);
        Assert.EndsWith("\x1B[10;6H\x1B[?25h", shown);
    }

    [Fact]
    public void A_graphics_mode_is_told_in_words()
    {
        var painter = new TextPainter();
        Assert.Contains("shows nothing", painter.Paint(new TextFrame(), 80, 25));
        Assert.Equal("", painter.Paint(new TextFrame(), 80, 25));
        using var card = new TextCard();
        card.SetGraphics();
        Assert.Contains("graphics mode (640 x 480)", painter.Paint(card.Look(), 80, 25));
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
