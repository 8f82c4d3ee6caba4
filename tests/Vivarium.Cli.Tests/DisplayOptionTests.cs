using Vivarium.Cli.Verbs;
using Vivarium.Guests.Tests;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>--display.</summary>
public sealed class DisplayOptionTests
{
    [Theory]
    [InlineData("vnc", "127.0.0.1:5900")]
    [InlineData("vnc=5901", "127.0.0.1:5901")]
    [InlineData("vnc=:0", "127.0.0.1:0")]
    [InlineData("vnc=0.0.0.0:5900", "0.0.0.0:5900")]
    [InlineData("vnc=[::1]:99", "[::1]:99")]
    public void A_port_is_on_the_loopback_address_unless_it_says_otherwise(string text, string expected)
    {
        DisplayOption option = DisplayOption.Parse(text)!;
        Assert.Equal((DisplayKind.Vnc, expected, null), (option.Kind, option.EndPoint!.ToString(), option.Password));
    }

    [Fact]
    public void A_socket_has_a_path_and_commas_are_doubled()
    {
        DisplayOption option = DisplayOption.Parse("vnc=unix:/tmp/a,,b,password=x,,y")!;
        Assert.Equal(("/tmp/a,b", "x,y", null), (option.Path, option.Password, option.EndPoint));
    }

    [Fact]
    public void A_password_is_the_first_line_of_its_file()
    {
        using var scratch = new Scratch();
        string file = scratch.Write("password", "secret\nmore\n"u8.ToArray());
        Assert.Equal("secret", DisplayOption.Parse($"vnc,password-file={file}")!.Password);
    }

    [Theory]
    [InlineData("")]
    [InlineData("window")]
    [InlineData("vnc=")]
    [InlineData("vnc=port")]
    [InlineData("vnc=65536")]
    [InlineData("vnc=unix:")]
    [InlineData("vnc=no such host:1")]
    [InlineData("vnc,password=")]
    [InlineData("vnc,color=red")]
    [InlineData("vnc,password=a,password=b")]
    [InlineData("vnc,password-file=/no/such/file")]
    [InlineData("text,password=a")]
    public void Nonsense_is_refused_in_words(string text) => Assert.NotEmpty(Assert.Throws<InvalidInputException>(() => DisplayOption.Parse(text)).Message);

    [Theory]
    [InlineData(true, true, false, false, true, DisplayKind.Text)]
    [InlineData(false, true, false, false, true, DisplayKind.None)]
    [InlineData(true, false, false, false, true, DisplayKind.None)]
    [InlineData(true, true, true, false, true, DisplayKind.None)]
    [InlineData(true, true, false, true, true, DisplayKind.None)]
    [InlineData(true, true, false, false, false, DisplayKind.None)]
    internal void Firmware_at_a_terminal_shows_its_screen_there(bool firmware, bool classic, bool serial, bool background, bool terminal, DisplayKind expected)
    {
        Assert.Equal(expected, DisplayOption.Choose(null, firmware, classic, serial, background, () => terminal).Kind);
        Assert.Equal(DisplayKind.Vnc, DisplayOption.Choose(DisplayOption.Parse("vnc"), firmware, classic, serial, background, () => terminal).Kind);
    }

    [Fact]
    public void A_screen_in_the_terminal_leaves_it_to_no_serial_line()
    {
        Assert.Equal(SerialKind.None, RunOptions.ParseSerial(null, background: false, DisplayOption.Text).Kind);
        Assert.Equal(SerialKind.Stdio, RunOptions.ParseSerial(null, background: false, DisplayOption.None).Kind);
        Assert.Throws<InvalidInputException>(() => RunOptions.ParseSerial("stdio", background: false, DisplayOption.Text));
    }
}
