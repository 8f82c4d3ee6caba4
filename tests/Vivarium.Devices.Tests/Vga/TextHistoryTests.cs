namespace Vivarium.Devices.Tests;

public sealed class TextHistoryTests : IDisposable
{
    private readonly VgaBoard _board = new();

    public TextHistoryTests()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.ClearText();
    }

    public void Dispose() => _board.Dispose();

    [Fact]
    public void The_screen_can_be_read()
    {
        _board.Write(3, 5, "Hello \u0081 world");
        var text = _board.Card.ReadText();
        Assert.Equal(25, text.Visible.Count);
        Assert.Equal("     Hello ü world", text.Visible[3]);
        Assert.Equal("", text.Visible[4]);
        Assert.Empty(text.Scrolled);
    }

    [Fact]
    public void Lines_that_were_copied_off_the_top_are_remembered()
    {
        for (var i = 0; i < 100; i++)
        {
            _board.ScrollUp();
            _board.Write(24, 0, $"line {i}");
        }

        var text = _board.Card.ReadText();
        Assert.Equal("line 99", text.Visible[24]);
        Assert.Equal("line 75", text.Visible[0]);
        Assert.Equal(Enumerable.Range(0, 75).Select(i => $"line {i}"), text.Scrolled.SkipWhile(line => line.Length == 0));

        // Of the blank rows above them only the last was seen to go.
        Assert.Equal(76, text.ScrolledEver);
    }

    [Fact]
    public void Lines_that_the_start_address_has_left_behind_are_remembered()
    {
        for (var i = 0; i < 60; i++)
        {
            var start = Math.Max(0, i - 24) * 80;
            _board.Set(0x3D4, 0x0C, (byte)(start >> 8));
            _board.Set(0x3D4, 0x0D, (byte)start);
            _board.Write(i, 0, $"line {i}".PadRight(80));
        }

        var text = _board.Card.ReadText();
        Assert.Equal("line 59", text.Visible[24]);
        Assert.Equal(Enumerable.Range(0, 35).Select(i => $"line {i}"), text.Scrolled);
    }

    [Fact]
    public void A_screen_that_is_cleared_is_remembered()
    {
        _board.Write(0, 0, "first");
        _board.Write(1, 0, "second");
        _board.ClearText();
        _board.Write(0, 0, "third");
        var text = _board.Card.ReadText();
        Assert.Equal(["first", "second"], text.Scrolled);
        Assert.Equal("third", text.Visible[0]);
    }

    [Fact]
    public void A_screen_that_another_mode_has_replaced_is_remembered()
    {
        _board.Write(0, 0, "before the picture");
        _board.SetMode(VgaBoard.Mode12);
        var text = _board.Card.ReadText();
        Assert.Equal(["before the picture"], text.Scrolled);
        Assert.Empty(text.Visible);
    }

    [Fact]
    public void Writing_into_the_top_row_is_no_scrolling()
    {
        for (var row = 0; row < 20; row++)
            _board.Write(row, 0, $"row {row}");
        for (var i = 0; i < 10; i++)
        {
            _board.Write(0, 70, $"{i}");
            _board.Write(24, 70, $"{i}");
        }

        Assert.Empty(_board.Card.ReadText().Scrolled);
    }

    [Fact]
    public void Old_lines_make_room()
    {
        for (var i = 0; i < 5000; i++)
        {
            _board.ScrollUp();
            _board.Write(24, 0, $"{i}");
        }

        var text = _board.Card.ReadText();
        Assert.Equal(4096, text.Scrolled.Count);
        Assert.Equal("4974", text.Scrolled[^1]);
        Assert.Equal(4976, text.ScrolledEver);
    }
}
