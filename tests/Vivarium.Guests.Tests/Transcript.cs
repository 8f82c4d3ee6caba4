using System.Text;
using System.Text.RegularExpressions;

namespace Vivarium.Guests.Tests;

/// <summary>What a console has said so far, and a place in it up to which a test has read.</summary>
internal sealed class Transcript
{
    private readonly object _gate = new();
    private readonly StringBuilder _text = new();
    private int _expectedUpTo;
    private bool _ended;

    public override string ToString()
    {
        lock (_gate)
        {
            return _text.ToString();
        }
    }

    public void Add(ReadOnlySpan<char> text)
    {
        lock (_gate)
        {
            _text.Append(text);
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Nothing more will come.</summary>
    public void End()
    {
        lock (_gate)
        {
            _ended = true;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Waits until the text, after what was expected before, matches.</summary>
    /// <param name="pattern">Regular expression; ^ and $ match at lines.</param>
    /// <param name="patience">How long at most.</param>
    /// <param name="more">What else helps to understand why it did not come.</param>
    public Match Expect(string pattern, TimeSpan patience, Func<string>? more = null)
    {
        var regex = new Regex(pattern, RegexOptions.Multiline);
        long end = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        lock (_gate)
        {
            while (true)
            {
                Match match = regex.Match(_text.ToString(), _expectedUpTo);
                if (match.Success)
                {
                    _expectedUpTo = match.Index + match.Length;
                    return match;
                }

                long left = end - Environment.TickCount64;
                if (left <= 0 || _ended)
                {
                    throw new Xunit.Sdk.XunitException($"no '{pattern}' {(_ended ? "before the end" : $"within {patience.TotalSeconds:0} s")}; the output was:\n{_text}\n{more?.Invoke()}");
                }

                _ = Monitor.Wait(_gate, (int)Math.Min(left, 500));
            }
        }
    }
}
