using System.Net;
using Vivarium.Cli.Verbs;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>--gdb and --gdb-wait.</summary>
public sealed class GdbOptionTests
{
    [Theory]
    [InlineData("1234", "127.0.0.1:1234")]
    [InlineData(":0", "127.0.0.1:0")]
    [InlineData("0.0.0.0:65535", "0.0.0.0:65535")]
    [InlineData("[::1]:99", "[::1]:99")]
    [InlineData("localhost:99", ":99")]
    public void APortIsOnTheLoopbackAddressUnlessItSaysOtherwise(string text, string expected)
        => Assert.EndsWith(expected, GdbOption.Parse(text, wait: false)!.EndPoint.ToString());

    [Fact]
    public void WaitingNeedsNoPort()
    {
        Assert.Null(GdbOption.Parse(null, wait: false));
        GdbSpec waiting = GdbOption.Parse(null, wait: true)!;
        Assert.True(waiting.Wait);
        Assert.Equal(new IPEndPoint(IPAddress.Loopback, GdbSpec.DefaultPort), waiting.EndPoint);
    }

    [Theory]
    [InlineData("")]
    [InlineData("port")]
    [InlineData("65536")]
    [InlineData("-1")]
    [InlineData("1234:")]
    [InlineData("not an address:1")]
    public void NonsenseIsRefusedInWords(string text)
        => Assert.Contains("write for example --gdb", Assert.Throws<InvalidInputException>(() => GdbOption.Parse(text, wait: false)).Message);
}
