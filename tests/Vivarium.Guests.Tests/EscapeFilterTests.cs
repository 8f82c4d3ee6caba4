using Vivarium.Cli.Terminal;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Ctrl-A and what follows it.</summary>
public sealed class EscapeFilterTests
{
    [Theory]
    [InlineData("ls\r", "ls\r", "")]
    [InlineData("\u0003\u001a\u0004\u001b[A", "\u0003\u001a\u0004\u001b[A", "")]
    [InlineData("a\u0001xb", "ab", "End")]
    [InlineData("a\u0001Xb", "ab", "End")]
    [InlineData("\u0001\u0001x", "\u0001x", "")]
    [InlineData("\u0001h", "", "Help")]
    [InlineData("\u0001?", "", "Help")]
    [InlineData("\u0001qz", "z", "")]
    [InlineData("\u0001h\u0001\u0001\u0001x", "\u0001", "Help End")]
    [InlineData("\u0001", "", "")]
    public void Commands_are_taken_out_and_all_else_goes_on(string typed, string forGuest, string commands)
    {
        var filter = new EscapeFilter();
        string sent = "";
        var asked = new List<ConsoleCommand>();
        foreach (char key in typed)
        {
            if (filter.Take((byte)key, out byte send, out ConsoleCommand command))
            {
                sent += (char)send;
            }
            else if (command != ConsoleCommand.None)
            {
                asked.Add(command);
            }
        }

        Assert.Equal(forGuest, sent);
        Assert.Equal(commands, string.Join(' ', asked));
    }
}
