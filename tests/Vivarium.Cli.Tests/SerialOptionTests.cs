using Vivarium.Cli.Verbs;
using Xunit;

namespace Vivarium.Cli.Tests;

public sealed class SerialOptionTests
{
    [Fact]
    public void Each_serial_after_the_first_is_one_more_port()
    {
        IReadOnlyList<SerialTarget> more = Parse(SerialTarget.None, "file:log", "unix:socket", "stdio");
        Assert.Equal([new(SerialKind.File, "log"), new(SerialKind.Socket, "socket"), SerialTarget.Stdio], more);
        Assert.Empty(Parse(SerialTarget.Stdio));
        Assert.Equal([SerialTarget.None, SerialTarget.None], Parse(SerialTarget.None, "none", "none"));
    }

    [Theory]
    [InlineData("a PC has at most 4 serial ports, and 5 are asked for", "none", "none", "none", "none")]
    [InlineData("--serial stdio is there twice", "stdio")]
    [InlineData("--serial file:a is there twice", "file:a", "file:a")]
    [InlineData("--serial unix:a is there twice", "unix:a", "none", "unix:a")]
    [InlineData("is no place for the serial port", "pty")]
    [InlineData("is no place for the serial port", "file:")]
    public void What_cannot_be_is_refused_in_one_line(string why, params string[] more)
    {
        var refused = Assert.Throws<InvalidInputException>(() => Parse(SerialTarget.Stdio, more));
        Assert.Contains(why, refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', refused.Message);
    }

    [Fact]
    public void A_terminal_is_refused_to_the_second_port_as_to_the_first()
    {
        Assert.Contains("background", Refusal("stdio", background: true, DisplayOption.None), StringComparison.Ordinal);
        Assert.Contains("--display text", Refusal("stdio", background: false, DisplayOption.Text), StringComparison.Ordinal);
        Assert.Contains("viv console", Assert.Throws<InvalidInputException>(() => RunOptions.ParseSerial("unix:a", background: false, DisplayOption.None)).Message, StringComparison.Ordinal);
    }

    private static string Refusal(string text, bool background, DisplayOption display) =>
        Assert.Throws<InvalidInputException>(() => RunOptions.ParseMoreSerial([text], SerialTarget.None, background, display)).Message;

    private static IReadOnlyList<SerialTarget> Parse(SerialTarget first, params string[] more) =>
        RunOptions.ParseMoreSerial(more, first, background: false, DisplayOption.None);
}
