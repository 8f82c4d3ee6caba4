using Vivarium.Cli.Machines;
using Vivarium.Cli.Verbs;
using Vivarium.Devices;
using Vivarium.Expect;
using Vivarium.Input;
using Xunit;

namespace Vivarium.Cli.Tests;

/// <summary>The words of viv type, key, mouse and expect.</summary>
public sealed class InputVerbTests
{
    [Theory]
    [InlineData("a", Key.A)]
    [InlineData("A", Key.LeftShift, Key.A)]
    [InlineData("ctrl-alt-f2", Key.LeftControl, Key.LeftAlt, Key.F2)]
    [InlineData("Ctrl+Alt+Delete", Key.LeftControl, Key.LeftAlt, Key.Delete)]
    [InlineData("shift-f12", Key.LeftShift, Key.F12)]
    [InlineData("-", Key.Minus)]
    [InlineData("ctrl--", Key.LeftControl, Key.Minus)]
    [InlineData("ctrl-+", Key.LeftControl, Key.LeftShift, Key.Equal)]
    [InlineData("kp7", Key.Keypad7)]
    [InlineData("up", Key.Up)]
    public void Chords_are_read(string text, params Key[] keys) => Assert.Equal(keys, KeyChord.Parse(text).Keys);

    [Theory]
    [InlineData("", "names no key")]
    [InlineData("ctrl-hyper", "there is no key 'hyper' as in 'ctrl-hyper'")]
    [InlineData("f13", "there is no key 'f13'")]
    [InlineData("a-b-c-d-e-f-g-h-i", "more than 8 keys")]
    public void Chords_that_cannot_be_are_explained(string text, string explanation) =>
        Assert.Contains(explanation, Assert.Throws<InvalidInputException>(() => KeyChord.Parse(text)).Message);

    [Fact]
    public void All_printable_ASCII_can_be_typed()
    {
        TypedText.Check(new string([.. Enumerable.Range(' ', '~' - ' ' + 1).Select(code => (char)code)]) + "\n\t\b\u001b\r");
        Assert.True(UsKeyboard.TryFind('~', out Key key, out bool shift));
        Assert.Equal((Key.Grave, true), (key, shift));
    }

    [Theory]
    [InlineData("naïve", "'ï' (U+00EF)")]
    [InlineData("5 €\u0001", "'€' (U+20AC), U+0001")]
    [InlineData("🦊", "'🦊' (U+1F98A)")]
    public void What_cannot_be_typed_is_named(string text, string named) =>
        Assert.Contains($"cannot type {named}", Assert.Throws<InvalidInputException>(() => TypedText.Check(text)).Message);

    [Theory]
    [InlineData(@"ls\n", "ls\n")]
    [InlineData(@"\t\b\e\r\\n", "\t\b\u001b\r\\n")]
    public void Escapes_are_understood(string text, string typed) => Assert.Equal(typed, TypeVerb.Unescape(text));

    [Theory]
    [InlineData(@"a\q", @"'\q' means nothing")]
    [InlineData(@"a\", "ends in a backslash")]
    public void Escapes_that_mean_nothing_are_explained(string text, string explanation) =>
        Assert.Contains(explanation, Assert.Throws<InvalidInputException>(() => TypeVerb.Unescape(text)).Message);

    [Fact]
    public void Mouse_actions_are_read()
    {
        Assert.Equal(new MouseAction(MouseActionKind.Move, -5, 3), MouseAction.Parse(["move", "-5", "3"]));
        Assert.Equal(new MouseAction(MouseActionKind.Wheel, 2), MouseAction.Parse(["wheel", "2"]));
        Assert.Equal(new MouseAction(MouseActionKind.Click, Buttons: PointerButtons.Left), MouseAction.Parse(["click"]));
        Assert.Equal(new MouseAction(MouseActionKind.Press, Buttons: PointerButtons.Right), MouseAction.Parse(["press", "right"]));
    }

    [Theory]
    [InlineData("say what the mouse is to do")]
    [InlineData("a mouse does not understand 'fly'", "fly")]
    [InlineData("a mouse does not understand 'move 1'", "move", "1")]
    [InlineData("'far' is no number", "move", "far", "1")]
    [InlineData("'99999999999' is no number", "wheel", "99999999999")]
    [InlineData("no mouse button 'third'", "click", "third")]
    public void Mouse_actions_that_cannot_be_are_explained(string explanation, params string[] words) =>
        Assert.Contains(explanation, Assert.Throws<InvalidInputException>(() => MouseAction.Parse(words)).Message);

    [Fact]
    public void A_guest_speaks_on_its_serial_line_and_its_screen()
    {
        Assert.Equal(TextSource.Any, ExpectVerb.ParseSource(null));
        Assert.Equal(TextSource.Screen, ExpectVerb.ParseSource("screen"));
        Assert.Contains("known are serial, screen", Assert.Throws<InvalidInputException>(() => ExpectVerb.ParseSource("paper")).Message);
    }
}
