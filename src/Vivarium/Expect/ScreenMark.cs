using System.Text;
using Vivarium.Devices;

namespace Vivarium.Expect;

/// <summary>What of a screen has been read before. Lines count from power-on, those that have scrolled off included.</summary>
/// <param name="First">The first line of <paramref name="Known"/>; those before it are known too.</param>
/// <param name="Known">Lines as they were when they were read.</param>
internal sealed record ScreenMark(long First, IReadOnlyList<string> Known)
{
    /// <summary>Nothing was read.</summary>
    public static ScreenMark Beginning { get; } = new(0, []);

    /// <summary>The lines that are new or have changed, one after the other.</summary>
    public string NewIn(ScreenText screen)
    {
        var text = new StringBuilder();
        foreach ((long number, string line) in Lines(screen))
        {
            if (IsNew(number, line))
            {
                _ = text.Append(line).Append('\n');
            }
        }

        return text.ToString();
    }

    /// <summary>The mark after so many lines of <see cref="NewIn"/>, and the one begun, have been read.</summary>
    public ScreenMark After(ScreenText screen, int wholeLines)
    {
        List<string> known = [];
        long first = screen.ScrolledEver;
        int left = wholeLines + 1;
        foreach ((long number, string line) in Lines(screen))
        {
            if (left == 0 && IsNew(number, line))
            {
                break;
            }

            left -= IsNew(number, line) ? 1 : 0;
            if (number >= screen.ScrolledEver)
            {
                known.Add(line);
            }
            else if (left == 0)
            {
                // What follows has scrolled off already, and is new.
                return new ScreenMark(number + 1, known);
            }
        }

        return new ScreenMark(first, known);
    }

    private static IEnumerable<(long Number, string Line)> Lines(ScreenText screen)
    {
        long number = screen.ScrolledEver - screen.Scrolled.Count;
        foreach (string line in screen.Scrolled.Concat(screen.Visible))
        {
            yield return (number++, line);
        }
    }

    private bool IsNew(long number, string line) =>
        number >= First && (number - First >= Known.Count || Known[(int)(number - First)] != line);
}
