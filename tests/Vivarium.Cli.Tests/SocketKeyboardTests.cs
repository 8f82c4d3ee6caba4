using System.Net.Sockets;
using Vivarium.Cli.Terminal;
using Xunit;

namespace Vivarium.Cli.Tests;

public sealed class SocketKeyboardTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Keys_for_a_console_that_was_left_are_dropped(bool waits)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Dispose();
        var keyboard = new SocketKeyboard(socket);
        Assert.False(waits ? keyboard.Type("x"u8) : keyboard.TryType("x"u8));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Keys_for_a_machine_that_is_gone_are_dropped(bool waits)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        var keyboard = new SocketKeyboard(socket);
        Assert.False(waits ? keyboard.Type("x"u8) : keyboard.TryType("x"u8));
    }
}
