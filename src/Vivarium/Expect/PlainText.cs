using System.Text;

namespace Vivarium.Expect;

/// <summary>
/// What a terminal would show of bytes, as lines of text: without escape sequences (ECMA-48), and with \n alone at the end of lines.
/// The bytes may come in pieces that end anywhere.
/// </summary>
internal sealed class PlainText
{
    private const char Escape = '\u001b';
    private const char StringTerminator = '\u009c';

    /// <summary>The most characters that one more byte can complete: U+FFFD for what it cuts short, and its own.</summary>
    private const int CharactersOfByte = 4;

    private enum Place
    {
        Text,
        AfterEscape,
        EscapeSequence,
        ControlSequence,
        ControlString,
    }

    private readonly StringBuilder _text = new();
    private readonly Decoder _decoder = Encoding.UTF8.GetDecoder();

    /// <summary>For each character of the text, how many bytes there were when it was complete.</summary>
    private readonly List<int> _ends = [];

    private int _bytes;
    private bool _wasAscii = true;
    private Place _place;

    public PlainText()
    {
    }

    public PlainText(ReadOnlySpan<byte> bytes) => Append(bytes);

    public int Length => _text.Length;

    public void Append(ReadOnlySpan<byte> bytes)
    {
        Span<char> characters = stackalloc char[CharactersOfByte];
        for (int i = 0; i < bytes.Length; i++)
        {
            _bytes++;
            bool isAscii = Ascii.IsValid(bytes[i]);
            if (isAscii && _wasAscii)
            {
                Append((char)bytes[i]);
                continue;
            }

            // It is a part of a character, or ends one that was cut short.
            _wasAscii = isAscii;
            int count = _decoder.GetChars(bytes.Slice(i, 1), characters, flush: false);
            foreach (char c in characters[..count])
            {
                Append(c);
            }
        }
    }

    /// <summary>How many of the bytes make the first characters of the text, with what is not shown before and between them.</summary>
    public int BytesOf(int characters) => characters == 0 ? 0 : _ends[characters - 1];

    /// <summary>The text from one of its characters on.</summary>
    public string From(int character) => _text.ToString(character, _text.Length - character);

    public override string ToString() => _text.ToString();

    private void Append(char c)
    {
        if (c == Escape)
        {
            // Also ends a string, as the first half of its terminator, and whatever was left unfinished.
            _place = Place.AfterEscape;
            return;
        }

        switch (_place)
        {
            case Place.Text:
                if (c is '\n' or '\t' || !char.IsControl(c))
                {
                    _ = _text.Append(c);
                    _ends.Add(_bytes);
                }

                break;
            case Place.AfterEscape:
                _place = c switch
                {
                    '[' => Place.ControlSequence,
                    ']' or 'P' or '^' or '_' or 'X' => Place.ControlString,
                    >= ' ' and <= '/' => Place.EscapeSequence,
                    _ => Place.Text,
                };
                break;
            case Place.EscapeSequence when c is < ' ' or > '/':
                _place = Place.Text;
                break;
            case Place.ControlSequence when c is < ' ' or > '?':
                // Behind parameters and intermediates, the final character.
                _place = Place.Text;
                break;
            case Place.ControlString when c is '\a' or StringTerminator:
                _place = Place.Text;
                break;
        }
    }
}
