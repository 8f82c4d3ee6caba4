using System.Text;

namespace Vivarium.Expect;

/// <summary>What a terminal would show of bytes, as lines of text: without escape sequences (ECMA-48), and with \n alone at the end of lines.</summary>
internal static class PlainText
{
    private const char Escape = '\u001b';

    public static string Of(ReadOnlySpan<byte> bytes)
    {
        string raw = Encoding.UTF8.GetString(bytes);
        var text = new StringBuilder(raw.Length);
        for (int i = 0; i < raw.Length; i++)
        {
            char c = raw[i];
            if (c == Escape)
            {
                i = EndOfSequence(raw, i);
            }
            else if (c is '\n' or '\t' || !char.IsControl(c))
            {
                _ = text.Append(c);
            }
        }

        return text.ToString();
    }

    /// <summary>The index of the last character of the sequence that begins at an escape character.</summary>
    private static int EndOfSequence(string text, int start)
    {
        int i = start + 1;
        if (i >= text.Length)
        {
            return start;
        }

        switch (text[i])
        {
            case '[':
                // A control sequence: parameters and intermediates, then a final character.
                for (i++; i < text.Length && text[i] is >= ' ' and <= '?'; i++)
                {
                }

                return Math.Min(i, text.Length - 1);
            case ']' or 'P' or '^' or '_' or 'X':
                // A string, to its terminator.
                for (i++; i < text.Length && text[i] is not ('\a' or '\u009c' or Escape); i++)
                {
                }

                return i + 1 < text.Length && text[i] == Escape && text[i + 1] == '\\' ? i + 1 : Math.Min(i, text.Length - 1);
            default:
                for (; i < text.Length && text[i] is >= ' ' and <= '/'; i++)
                {
                }

                return Math.Min(i, text.Length - 1);
        }
    }
}
