using System.Text;
using Vivarium.Devices;
using Vivarium.Expect;
using Vivarium.Guests.Tests.Debian;
using Vivarium.Serial;
using Xunit;

namespace Vivarium.Guests.Tests;

/// <summary>Waiting for text of a guest: on its serial line and on its screen.</summary>
public sealed class ExpectTests
{
    private readonly ConsoleTranscript _serial = new();
    private readonly TextWatcher _watcher;
    private ScreenText _screen = ScreenText.Nothing;

    public ExpectTests() => _watcher = new TextWatcher(_serial, () => _screen);

    private void Say(string text) => _serial.Append(Encoding.UTF8.GetBytes(text));

    private Task<FoundText?> Find(string text, bool onlyNew = false, bool isRegex = false, double seconds = 0) => _watcher.WaitAsync(
        isRegex ? TextPattern.Expression(text) : TextPattern.Literal(text), TextSource.Any, onlyNew, TimeSpan.FromSeconds(seconds), TestContext.Current.CancellationToken);

    [Fact]
    public async Task What_came_before_counts_and_so_does_what_comes_later()
    {
        Say("Welcome\r\nvivarium login: ");
        Assert.Equal(new FoundText(TextSource.Serial, "login:", "vivarium login:"), await Find("login:"));
        Task<FoundText?> waiting = Find("Password", seconds: 30);
        Say("root\r\nPassword: ");
        Assert.Equal("Password:", (await waiting)!.Line);
        Assert.Null(await Find("nothing like it"));
    }

    [Fact]
    public async Task Colours_and_cursor_moves_are_not_in_the_way()
    {
        Say("\u001b]0;title\a\u001b[1;32mroot@\u001b[0mvivarium\u001b(B:\u001b[?2004h# ");
        Assert.Equal("root@vivarium:#", (await Find("root@vivarium:#"))!.Line);
    }

    [Fact]
    public void Bytes_in_pieces_are_the_same_text_as_bytes_at_once()
    {
        byte[] bytes = [.. Encoding.UTF8.GetBytes("a\r\n\u001b[1;32mé\u001b]0;title\u001b\\│\u001b(B𝄞\u001bcz\u001bP1\a"), 0xE2, 0x94, (byte)'!', 0xC3];
        var whole = new PlainText(bytes);
        Assert.Equal("a\né│𝄞z\uFFFD!", whole.ToString());
        var pieces = new PlainText();
        foreach (byte piece in bytes)
        {
            pieces.Append([piece]);
            Assert.StartsWith(pieces.ToString(), whole.ToString(), StringComparison.Ordinal);
        }

        Assert.Equal(whole.ToString(), pieces.ToString());
        Assert.Equal("│𝄞z\uFFFD!", pieces.From(3));
        Assert.Equal([0, 1, 3], [whole.BytesOf(0), whole.BytesOf(1), whole.BytesOf(2)]);
        Assert.Equal(bytes.Length - 1, whole.BytesOf(whole.Length));
    }

    [Fact]
    public async Task A_regular_expression_sees_lines()
    {
        Say("one\r\ntwo 2\r\nthree\r\n");
        Assert.Equal("two 2", (await Find(@"^two \d$", isRegex: true))!.Text);
        Assert.Throws<InvalidInputException>(() => TextPattern.Expression("("));
        Assert.Throws<InvalidInputException>(() => TextPattern.Literal(""));
    }

    [Fact]
    public async Task A_dialogue_looks_only_at_what_is_new()
    {
        Say("$ ls\r\nfile\r\n$ ");
        Assert.NotNull(await Find("file", onlyNew: true));
        Assert.NotNull(await Find("$ ", onlyNew: true));
        Assert.Null(await Find("$ ", onlyNew: true));
        Assert.NotNull(await Find("$ "));
        Say("pwd\r\n/root\r\n$ ");
        Assert.NotNull(await Find("/root", onlyNew: true));
        Assert.NotNull(await Find("$ ", onlyNew: true));
    }

    [Fact]
    public async Task A_dialogue_misses_nothing_among_cursor_moves_and_what_is_no_text()
    {
        Say("\u001b[2;1Hmenu\u001b[3;1H\u001b[0mgoes on in 9s.\u001b[5;78H\r\n\u001b[2J\u0007");
        _serial.Append([0xFF]);
        Assert.NotNull(await Find("menu", onlyNew: true));
        Assert.NotNull(await Find("goes on", onlyNew: true));
        Assert.Null(await Find("goes on", onlyNew: true));
        Assert.NotNull(await Find(" in 9s.", onlyNew: true));
    }

    /// <summary>As SeaBIOS's serial console writes a prompt of GRUB's when its clock ticks in the middle of it.</summary>
    [Fact]
    public async Task A_machine_in_a_test_is_read_as_a_terminal_shows_it()
    {
        using var scratch = new Scratch();
        await using var machine = new LibraryMachine(new MachineSpec { Kernel = scratch.Write("kernel", TinyKernel.Echo) });
        machine.Send("gru\u001b[09;03H\u001b[09;04Hb> ");
        machine.Expect("^grub> ", TimeSpan.FromSeconds(20));
    }

    [Fact]
    public async Task The_screen_counts_with_what_has_scrolled_off_it()
    {
        _screen = new ScreenText(["first line", "second line"], 12, ["third line", "login: "]);
        Assert.Equal(TextSource.Screen, (await Find("first"))!.Source);
        Assert.Equal("login:", (await Find("login:"))!.Line);
    }

    [Fact]
    public async Task On_a_screen_lines_are_new_that_have_come_or_changed()
    {
        _screen = new ScreenText([], 0, ["menu", "entry 1", "", ""]);
        Assert.NotNull(await Find("menu", onlyNew: true));
        Assert.NotNull(await Find("entry 1", onlyNew: true));
        Assert.Null(await Find("entry", onlyNew: true));

        // The screen is cleared and written anew.
        _screen = new ScreenText([], 0, ["boot", "entry 1", "", ""]);
        Assert.NotNull(await Find("boot", onlyNew: true));
        Assert.Null(await Find("entry 1", onlyNew: true));

        // It scrolls.
        _screen = new ScreenText(["boot"], 1, ["entry 1", "", "", "entry 2"]);
        Assert.Null(await Find("boot", onlyNew: true));
        Assert.NotNull(await Find("entry 2", onlyNew: true));
    }

    [Fact]
    public async Task Only_so_much_is_kept()
    {
        Say("the beginning\r\n");
        for (int i = 0; i < ConsoleTranscript.Capacity / 1000; i++)
        {
            Say(new string('x', 999) + "\n");
        }

        Say("the end\r\n");
        Assert.NotNull(await Find("the end"));
        Say(new string('y', 3000));
        Assert.Null(await Find("the beginning"));
    }
}
