using System.Text.RegularExpressions;

namespace Vivarium.Expect;

/// <summary>A text that somebody waits for: letter by letter, or a regular expression of .NET.</summary>
public sealed class TextPattern
{
    /// <summary>What an expression may take for all that is searched at once.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    private readonly Regex _regex;

    private TextPattern(string text, Regex regex)
    {
        Text = text;
        _regex = regex;
    }

    /// <summary>As it was asked for.</summary>
    public string Text { get; }

    /// <exception cref="InvalidInputException">The text is empty.</exception>
    public static TextPattern Literal(string text) => Create(text, Regex.Escape(text), RegexOptions.None);

    /// <summary>In a regular expression ^ and $ stand for the beginning and the end of any line.</summary>
    /// <exception cref="InvalidInputException">It is no regular expression; the message says why.</exception>
    public static TextPattern Expression(string text) => Create(text, text, RegexOptions.Multiline);

    public override string ToString() => Text;

    /// <summary>Where the pattern is first found in a text; null for nowhere.</summary>
    /// <exception cref="InvalidInputException">The expression takes too long.</exception>
    internal (int Index, int Length)? Find(string text)
    {
        try
        {
            Match match = _regex.Match(text);
            return match.Success ? (match.Index, match.Length) : null;
        }
        catch (RegexMatchTimeoutException e)
        {
            throw new InvalidInputException($"the expression '{Text}' takes too long to search for; make it simpler", e);
        }
    }

    private static TextPattern Create(string text, string expression, RegexOptions options)
    {
        if (text.Length == 0)
        {
            throw new InvalidInputException("an empty text would be found at once; say what to wait for, for example 'login:'");
        }

        try
        {
            return new TextPattern(text, new Regex(expression, options | RegexOptions.CultureInvariant, s_patience));
        }
        catch (ArgumentException e)
        {
            throw new InvalidInputException($"'{text}' is no regular expression: {e.Message}", e);
        }
    }
}
