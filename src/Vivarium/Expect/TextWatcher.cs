using Vivarium.Devices;
using Vivarium.Serial;

namespace Vivarium.Expect;

/// <summary>
/// Looks for text in what a guest writes. By default all is searched that is still kept, so that it does not matter whether the
/// text comes before or after the question; or only what has come since the last text that was found, for dialogues.
/// </summary>
internal sealed class TextWatcher(ConsoleTranscript serial, Func<ScreenText?> screen)
{
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(25);

    private readonly Lock _lock = new();
    private long _serialMark;
    private ScreenMark _screenMark = ScreenMark.Beginning;

    /// <summary>Waits for a text. Null if it has not come within the time.</summary>
    /// <param name="onlyNew">Search only what has come since the last text that was found.</param>
    public async Task<FoundText?> WaitAsync(TextPattern pattern, TextSource source, bool onlyNew, TimeSpan patience, CancellationToken cancellation)
    {
        (long serialFrom, ScreenMark screenFrom) = Marks(onlyNew);
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        long seen = -1;
        while (true)
        {
            // Asked before it is looked for, so that what comes meanwhile is looked at in the next round.
            bool isLast = Environment.TickCount64 >= end;
            if (source.HasFlag(TextSource.Serial) && serial.End != seen)
            {
                seen = serial.End;
                if (SearchSerial(pattern, serialFrom) is { } found)
                {
                    return found;
                }
            }

            if (source.HasFlag(TextSource.Screen) && SearchScreen(pattern, screenFrom) is { } shown)
            {
                return shown;
            }

            if (isLast)
            {
                return null;
            }

            await Task.Delay(s_look, cancellation).ConfigureAwait(false);
        }
    }

    private (long Serial, ScreenMark Screen) Marks(bool onlyNew)
    {
        lock (_lock)
        {
            return onlyNew ? (_serialMark, _screenMark) : (0, ScreenMark.Beginning);
        }
    }

    private FoundText? SearchSerial(TextPattern pattern, long from)
    {
        byte[] bytes = serial.From(from, out long end);
        var plain = new PlainText(bytes);
        string text = plain.ToString();
        if (pattern.Find(text) is not { } place)
        {
            return null;
        }

        // What follows the found text is new to the next question.
        lock (_lock)
        {
            _serialMark = Math.Max(_serialMark, end - bytes.Length + plain.BytesOf(place.Index + place.Length));
        }

        return Describe(TextSource.Serial, text, place);
    }

    private FoundText? SearchScreen(TextPattern pattern, ScreenMark from)
    {
        if (screen() is not { } shown)
        {
            return null;
        }

        string text = from.NewIn(shown);
        if (pattern.Find(text) is not { } place)
        {
            return null;
        }

        lock (_lock)
        {
            _screenMark = from.After(shown, text.AsSpan(0, place.Index + place.Length).Count('\n'));
        }

        return Describe(TextSource.Screen, text, place);
    }

    private static FoundText Describe(TextSource source, string text, (int Index, int Length) place)
    {
        int first = text.LastIndexOf('\n', Math.Max(0, place.Index - 1)) + 1;
        int last = text.IndexOf('\n', place.Index);
        if (first > place.Index)
        {
            first = place.Index;
        }

        return new FoundText(source, text.Substring(place.Index, place.Length), text[first..(last < 0 ? text.Length : last)].Trim());
    }
}
