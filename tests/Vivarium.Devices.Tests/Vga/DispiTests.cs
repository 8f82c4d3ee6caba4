namespace Vivarium.Devices.Tests;

public sealed unsafe class DispiTests : IDisposable
{
    private const ushort XResolution = 1, YResolution = 2, BitsPerPixel = 3, Enable = 4, Bank = 5, VirtualWidth = 6, VirtualHeight = 7, XOffset = 8, YOffset = 9;
    private const ushort Enabled = 1, Linear = 0x40;

    private readonly VgaBoard _board = new();

    public void Dispose() => _board.Dispose();

    [Theory]
    [InlineData(8, 0x00AAAAu)]
    [InlineData(15, 0xFF0000u)]
    [InlineData(16, 0xFF0000u)]
    [InlineData(24, 0x123456u)]
    [InlineData(32, 0x123456u)]
    public void Pixels_are_shown_in_every_depth(ushort bits, uint color)
    {
        SetMode(800, 600, bits);
        ulong bytes = (ulong)(bits + 7) / 8;
        ulong at = (800 * 599 + 799) * bytes;
        _board.Dispi(Bank, (ushort)(at / 65536));
        var value = bits switch { 8 => 3u, 15 => 0x7C00u, 16 => 0xF800u, _ => 0x123456u };
        for (ulong i = 0; i < bytes; i++)
        {
            _board.Dispi(Bank, (ushort)((at + i) / 65536));
            _board.Poke(VgaBoard.Window + (at + i) % 65536, (byte)(value >> (int)(8 * i)));
        }

        Assert.Equal(color, _board.Pixel(799, 599));
        Assert.Equal(0u, _board.Pixel(798, 599));
        Assert.Equal((800, 600), (_board.Frame.Width, _board.Frame.Height));
    }

    [Fact]
    public void Four_bits_are_planes()
    {
        _board.SetMode(VgaBoard.Mode12);
        SetMode(800, 600, 4);
        _board.Set(0x3C4, 2, 0x0C);
        _board.Poke(VgaBoard.Window + 100 * 599 + 99, 0x01);

        Assert.Equal(0xFF5555u, _board.Pixel(799, 599));
        Assert.Equal(0u, _board.Pixel(798, 599));
    }

    [Fact]
    public void The_picture_moves_over_a_larger_one()
    {
        SetMode(640, 480, 32);
        _board.Dispi(VirtualWidth, 1024);
        Assert.Equal(4096, _board.Dispi(VirtualHeight));
        _board.Dispi(XOffset, 100);
        _board.Dispi(YOffset, 10);
        _board.Poke(VgaBoard.Window + (1024 * 12 + 105) * 4 % 65536, 0xFF);
        Assert.Equal(0xFFu, _board.Pixel(5, 2));
    }

    [Fact]
    public void Memory_that_the_guest_writes_directly_is_seen_row_by_row()
    {
        SetMode(1024, 768, 32);
        _board.Card.Refresh(_board.Frame);
        _board.Card.Refresh(_board.Frame);
        Assert.False(_board.Card.Refresh(_board.Frame));

        var bar = _board.Card.Function;
        Assert.NotNull(bar);
        WriteFrameBuffer((1024 * 500 + 17) * 4, 0xABCDEF);
        Assert.True(_board.Card.Refresh(_board.Frame));
        Assert.Equal(0xABCDEFu, _board.Frame.Row(500)[17]);
        Assert.Equal((17, 18), _board.Frame.Change(500));
        Assert.Equal((0, 0), _board.Frame.Change(499));
        _board.Card.Refresh(_board.Frame);
        Assert.False(_board.Card.Refresh(_board.Frame));
    }

    [Fact]
    public void What_cannot_be_shown_is_made_to_fit()
    {
        SetMode(65535, 65535, 77);
        Assert.Equal((2560, 1600, 8), (_board.Dispi(XResolution), _board.Dispi(YResolution), _board.Dispi(BitsPerPixel)));
        _board.Dispi(YOffset, 65535);
        _board.Dispi(XOffset, 65535);
        _board.Card.Refresh(_board.Frame);
        Assert.Equal((2560, 1600), (_board.Frame.Width, _board.Frame.Height));
    }

    [Fact]
    public void The_limits_can_be_asked_for()
    {
        _board.Dispi(Enable, 2);
        Assert.Equal((2560, 1600, 32), (_board.Dispi(XResolution), _board.Dispi(YResolution), _board.Dispi(BitsPerPixel)));
        Assert.Equal(0xB0C5, _board.Dispi(0));
        Assert.Equal(256, _board.Dispi(10));
        _board.Dispi(0, 0xB0C2);
        Assert.Equal(0xB0C2, _board.Dispi(0));
        _board.Dispi(0, 0x1234);
        Assert.Equal(0xB0C2, _board.Dispi(0));
    }

    [Fact]
    public void A_mode_begins_black_unless_told_not_to()
    {
        SetMode(640, 480, 32);
        _board.Poke(VgaBoard.Window, 0x55);
        _board.Dispi(Enable, 0);
        _board.Dispi(Enable, Enabled | Linear | 0x80);
        Assert.Equal(0x55u, _board.Pixel(0, 0));
        _board.Dispi(Enable, 0);
        _board.Dispi(Enable, Enabled | Linear);
        Assert.Equal(0u, _board.Pixel(0, 0));
    }

    [Fact]
    public void Eight_bits_for_a_colour_are_kept()
    {
        SetMode(640, 480, 8);
        _board.Dispi(Enable, Enabled | Linear | 0x20 | 0x80);
        _board.Out(0x3C8, 0);
        _board.Out(0x3C9, 0x81);
        _board.Out(0x3C9, 0x82);
        _board.Out(0x3C9, 0x83);
        Assert.Equal(0x818283u, _board.Pixel(0, 0));
    }

    private void SetMode(ushort width, ushort height, ushort bits)
    {
        if (bits != 4)
            _board.SetMode(VgaBoard.Mode13);
        _board.Dispi(Enable, 0);
        _board.Dispi(XResolution, width);
        _board.Dispi(YResolution, height);
        _board.Dispi(BitsPerPixel, bits);
        _board.Dispi(Enable, Enabled | Linear);
    }

    private void WriteFrameBuffer(int offset, uint value)
    {
        var host = _board.Memory.Host + offset;
        *(uint*)host = value;
        _board.Memory.NoteWritten(host, sizeof(uint));
    }
}
