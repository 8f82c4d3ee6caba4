namespace Vivarium.Devices.Tests;

public sealed class VgaTests : IDisposable
{
    private const uint Black = 0, Red = 0xAA0000, White = 0xFFFFFF, Grey = 0xAAAAAA, Green = 0x00AA00, Blue = 0x0000AA;

    private readonly VgaBoard _board = new();

    public void Dispose() => _board.Dispose();

    [Fact]
    public void Text_is_drawn_with_the_font_in_plane_2()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.LoadFont((byte)'A', [0x80, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF]);
        _board.Write(0, 0, "A", 0x4F);
        _board.Write(2, 1, "A", 0x02);

        Assert.Equal(White, _board.Pixel(0, 0));
        Assert.Equal((720, 400), (_board.Frame.Width, _board.Frame.Height));
        Assert.Equal(Red, _board.Pixel(1, 0));
        Assert.Equal(White, _board.Pixel(7, 1));
        Assert.Equal(Red, _board.Pixel(8, 1));
        Assert.Equal(Green, _board.Pixel(9 + 7, 32 + 15));
        Assert.Equal(Black, _board.Pixel(9 + 8, 32 + 15));
    }

    [Fact]
    public void Line_graphics_go_on_into_the_ninth_dot()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.LoadFont(0xC4, [.. Enumerable.Repeat((byte)0xFF, 16)]);
        _board.LoadFont(0xB0, [.. Enumerable.Repeat((byte)0xFF, 16)]);
        _board.Write(0, 0, "\u00C4\u00B0");

        Assert.Equal(Grey, _board.Pixel(8, 0));
        Assert.Equal(Black, _board.Pixel(17, 0));
    }

    [Fact]
    public void The_cursor_blinks_where_it_is_told()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.Write(1, 0, " ");
        _board.Set(0x3D4, 0x0E, 0);
        _board.Set(0x3D4, 0x0F, 80);

        Assert.Equal(Black, _board.Pixel(0, 16 + 12));
        Assert.Equal(Grey, _board.Pixel(0, 16 + 13));
        Assert.Equal(Grey, _board.Pixel(8, 16 + 14));
        Assert.Equal(Black, _board.Pixel(9, 16 + 14));

        // 16 pictures on, 16 off.
        _board.Time.Nanoseconds += 16 * 14_300_000L;
        Assert.Equal(Black, _board.Pixel(0, 16 + 13));
    }

    [Fact]
    public void An_unchanged_screen_is_not_drawn_again()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.Write(3, 0, "hello");

        Assert.True(_board.Card.Refresh(_board.Frame));
        _board.Card.Refresh(_board.Frame);
        Assert.False(_board.Card.Refresh(_board.Frame));
    }

    [Fact]
    public void A_frame_tells_what_has_changed()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.LoadFont((byte)'#', [.. Enumerable.Repeat((byte)0xFF, 16)]);
        _board.Card.Refresh(_board.Frame);
        _board.Write(2, 10, "#");

        Assert.True(_board.Card.Refresh(_board.Frame));
        Assert.Equal((0, 0), _board.Frame.Change(31));
        Assert.Equal((90, 98), _board.Frame.Change(32));
        Assert.Equal((90, 98), _board.Frame.Change(47));
        Assert.Equal((0, 0), _board.Frame.Change(48));
    }

    [Fact]
    public void Below_the_line_compare_the_picture_begins_at_address_0()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.LoadFont((byte)'#', [.. Enumerable.Repeat((byte)0xFF, 16)]);
        _board.Write(0, 0, "#", 0x04);
        _board.Write(25, 0, "#", 0x02);
        _board.Set(0x3D4, 0x0C, 2000 >> 8);
        _board.Set(0x3D4, 0x0D, 2000 & 0xFF);
        _board.Set(0x3D4, 0x18, 159);
        _board.Set(0x3D4, 0x07, 0x0F);
        _board.Set(0x3D4, 0x09, 0x0F);

        Assert.Equal(Green, _board.Pixel(0, 0));
        Assert.Equal(Black, _board.Pixel(0, 159));
        Assert.Equal(Red, _board.Pixel(0, 160));
    }

    [Fact]
    public void Panning_shifts_the_picture_to_the_left()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.LoadFont((byte)'#', [.. Enumerable.Repeat((byte)0x80, 16)]);
        _board.Write(0, 1, "#");
        _board.In(0x3DA);
        _board.Out(0x3C0, 0x33);
        _board.Out(0x3C0, 2);

        Assert.Equal(Grey, _board.Pixel(9 - 3, 0));
    }

    [Fact]
    public void Mode_13h_is_one_byte_a_pixel()
    {
        _board.SetMode(VgaBoard.Mode13);
        _board.Poke(VgaBoard.Window + 320 * 100 + 7, 4);

        Assert.Equal(Red, _board.Pixel(14, 200));
        Assert.Equal(Red, _board.Pixel(15, 201));
        Assert.Equal(Black, _board.Pixel(16, 200));
        Assert.Equal((640, 400), (_board.Frame.Width, _board.Frame.Height));
        Assert.Equal(4, _board.Peek(VgaBoard.Window + 320 * 100 + 7));
    }

    [Fact]
    public void Mode_X_spreads_pixels_over_the_planes()
    {
        _board.SetMode(VgaBoard.ModeX);
        _board.Set(0x3C4, 2, 1 << 2);
        _board.Poke(VgaBoard.Window + 80 * 10, 1);

        Assert.Equal(Blue, _board.Pixel(2 * 2, 20));
        Assert.Equal(Black, _board.Pixel(3 * 2, 20));
        Assert.Equal((640, 480), (_board.Frame.Width, _board.Frame.Height));
    }

    [Fact]
    public void Mode_12h_has_a_bit_of_each_pixel_in_each_plane()
    {
        _board.SetMode(VgaBoard.Mode12);

        // Write mode 2: the colour of eight pixels, of which the bit mask lets two through.
        _board.Set(0x3CE, 5, 2);
        _board.Set(0x3CE, 8, 0x81);
        _board.Peek(VgaBoard.Window + 80 * 479 + 79);
        _board.Poke(VgaBoard.Window + 80 * 479 + 79, 0x0C);

        Assert.Equal(0xFF5555u, _board.Pixel(632, 479));
        Assert.Equal(Black, _board.Pixel(633, 479));
        Assert.Equal(0xFF5555u, _board.Pixel(639, 479));
    }

    [Fact]
    public void Write_modes_combine_the_processors_byte_with_the_latches()
    {
        _board.SetMode(VgaBoard.Mode12);

        // Mode 0: planes 0 and 1 get the byte, planes 2 and 3 what set/reset says.
        _board.Set(0x3CE, 0, 0b0100);
        _board.Set(0x3CE, 1, 0b1100);
        _board.Poke(VgaBoard.Window, 0x5A);
        Assert.Equal([0x5A, 0x5A, 0xFF, 0x00], Planes(0));

        // Mode 1: the latches as they are.
        _board.Set(0x3CE, 5, 1);
        _board.Peek(VgaBoard.Window);
        _board.Poke(VgaBoard.Window + 1, 0x33);
        Assert.Equal([0x5A, 0x5A, 0xFF, 0x00], Planes(1));

        // Exclusive or with the latches, rotated by 4.
        _board.Set(0x3CE, 5, 0);
        _board.Set(0x3CE, 1, 0);
        _board.Set(0x3CE, 3, 3 << 3 | 4);
        _board.Peek(VgaBoard.Window);
        _board.Poke(VgaBoard.Window + 2, 0xF0);
        Assert.Equal([0x55, 0x55, 0xF0, 0x0F], Planes(2));

        // Mode 3: the byte is a mask for set/reset.
        _board.Set(0x3CE, 5, 3);
        _board.Set(0x3CE, 3, 0);
        _board.Set(0x3CE, 0, 0b1001);
        _board.Set(0x3CE, 8, 0x3C);
        _board.Peek(VgaBoard.Window);
        _board.Poke(VgaBoard.Window + 3, 0xF0);
        Assert.Equal([0x7A, 0x4A, 0xCF, 0x30], Planes(3));

        // And only into planes that the map mask lets through.
        _board.Set(0x3CE, 5, 0);
        _board.Set(0x3CE, 8, 0xFF);
        _board.Set(0x3C4, 2, 0b0010);
        _board.Poke(VgaBoard.Window + 3, 0x11);
        Assert.Equal([0x7A, 0x11, 0xCF, 0x30], Planes(3));
    }

    [Fact]
    public void Read_mode_1_compares_colours()
    {
        _board.SetMode(VgaBoard.Mode12);
        _board.Set(0x3CE, 5, 2);
        _board.Set(0x3CE, 8, 0xF0);
        _board.Poke(VgaBoard.Window, 0x0A);
        _board.Set(0x3CE, 5, 0x0A);
        _board.Set(0x3CE, 2, 0x0A);

        Assert.Equal(0xF0, _board.Peek(VgaBoard.Window));
        _board.Set(0x3CE, 7, 0);
        Assert.Equal(0xFF, _board.Peek(VgaBoard.Window));
    }

    [Fact]
    public void CGA_pixels_of_odd_lines_are_8_KiB_higher()
    {
        _board.SetMode(VgaBoard.Mode4);
        _board.Poke(VgaBoard.Text + 1, 0b01_00_00_00);
        _board.Poke(VgaBoard.Text + 0x2000, 0b10_00_00_00);
        _board.Poke(VgaBoard.Text + 80, 0b11_00_00_00);

        Assert.Equal(WithDac(0x13), _board.Pixel(8, 0));
        Assert.Equal(WithDac(0x15), _board.Pixel(0, 2));
        Assert.Equal(WithDac(0x17), _board.Pixel(0, 4));
        Assert.Equal((640, 400), (_board.Frame.Width, _board.Frame.Height));
    }

    [Fact]
    public void CGA_mode_6_is_a_bit_a_pixel()
    {
        _board.SetMode(VgaBoard.Mode6);
        _board.Poke(VgaBoard.Text + 0x2000 + 79, 0x01);

        Assert.Equal(WithDac(0x17), _board.Pixel(639, 2));
        Assert.Equal(Black, _board.Pixel(638, 2));
        Assert.Equal(Black, _board.Pixel(639, 0));
    }

    [Fact]
    public void Pixels_of_320_dot_modes_are_doubled()
    {
        _board.SetMode(VgaBoard.Mode0D);
        _board.Poke(VgaBoard.Window + 40, 0x40);

        Assert.Equal(WithDac(0x17), _board.Pixel(2, 2));
        Assert.Equal(WithDac(0x17), _board.Pixel(3, 3));
        Assert.Equal(Black, _board.Pixel(4, 2));
        Assert.Equal((640, 400), (_board.Frame.Width, _board.Frame.Height));
    }

    [Fact]
    public void The_window_stands_where_the_graphics_controller_puts_it()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.Poke(VgaBoard.Text, 0x41);

        Assert.Equal(0x41, _board.Peek(VgaBoard.Text));
        Assert.Equal(0xFF, _board.Peek(VgaBoard.Window));
        Assert.Equal(0xFF, _board.Peek(0xB0000));
        _board.Set(0x3CE, 6, 0x0A);
        Assert.Equal(0x41, _board.Peek(0xB0000));
        Assert.Equal(0xFF, _board.Peek(VgaBoard.Text));
        _board.Out(0x3C2, 0x65);
        Assert.Equal(0xFF, _board.Peek(0xB0000));
    }

    [Fact]
    public void Retrace_comes_and_goes_with_the_clock()
    {
        _board.SetMode(VgaBoard.Mode3);
        var retraces = 0;
        var before = false;
        for (var microsecond = 0; microsecond < 100_000; microsecond += 20)
        {
            var now = (_board.In(0x3DA) & 8) != 0;
            retraces += now && !before ? 1 : 0;
            before = now;
            _board.Time.Nanoseconds += 20_000;
        }

        // 70 Hz.
        Assert.Equal(7, retraces);
    }

    [Fact]
    public void Protected_registers_keep_their_values_but_for_the_line_compare()
    {
        _board.SetMode(VgaBoard.Mode3);
        _board.Set(0x3D4, 1, 0x11);
        _board.Set(0x3D4, 7, 0xFF);
        _board.Out(0x3D4, 1);
        Assert.Equal(0x4F, _board.In(0x3D5));
        _board.Set(0x3D4, 7, 0);
        _board.Out(0x3D4, 7);
        Assert.Equal(0x0F, _board.In(0x3D5));
    }

    [Fact]
    public void Monochrome_monitors_have_the_ports_of_their_own()
    {
        _board.SetMode(VgaBoard.Mode3);
        Assert.Equal(0xFF, _board.In(0x3B4));
        _board.Out(0x3C2, 0x66);
        Assert.Equal(0xFF, _board.In(0x3D4));
        _board.Out(0x3B4, 0x12);
        Assert.Equal(0x8F, _board.In(0x3B5));
        Assert.NotEqual(0xFF, _board.In(0x3BA));
    }

    [Fact]
    public void The_palette_is_read_back_as_written()
    {
        _board.Out(0x3C8, 10);
        foreach (byte value in (byte[])[1, 2, 3, 4, 5, 6])
            _board.Out(0x3C9, value);
        Assert.Equal(12, _board.In(0x3C8));
        _board.Out(0x3C7, 10);
        Assert.Equal(3, _board.In(0x3C7));
        Assert.Equal([1, 2, 3, 4, 5, 6], Enumerable.Range(0, 6).Select(_ => _board.In(0x3C9)));
    }

    [Fact]
    public void A_saved_card_shows_the_same()
    {
        _board.SetMode(VgaBoard.Mode12);
        _board.Poke(VgaBoard.Window + 5, 0xFF);
        var state = _board.Card.Save();
        using var other = new VgaBoard();
        other.Card.Restore(state);
        other.Poke(VgaBoard.Window + 5, 0xFF);

        Assert.Equal(_board.Pixel(41, 0), other.Pixel(41, 0));
        Assert.Equal(White, other.Pixel(41, 0));
        Assert.Throws<InvalidDataException>(() => other.Card.Restore(state with { Crtc = [] }));
    }

    private static uint WithDac(int index) => (uint)(((index >> 2 & 1) * 0xAA + (index >> 5 & 1) * 0x55) << 16
        | ((index >> 1 & 1) * 0xAA + (index >> 4 & 1) * 0x55) << 8 | (index & 1) * 0xAA + (index >> 3 & 1) * 0x55);

    private byte[] Planes(ulong offset)
    {
        var planes = new byte[4];
        for (byte plane = 0; plane < 4; plane++)
        {
            _board.Set(0x3CE, 4, plane);
            planes[plane] = _board.Peek(VgaBoard.Window + offset);
        }

        return planes;
    }
}
