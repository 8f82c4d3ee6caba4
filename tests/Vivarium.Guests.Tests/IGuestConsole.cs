using System.Text.RegularExpressions;

namespace Vivarium.Guests.Tests;

/// <summary>A guest's serial console, in whatever way its machine runs.</summary>
internal interface IGuestConsole
{
    void Send(string text);

    /// <summary>Waits until the output, after what was expected before, matches.</summary>
    Match Expect(string pattern, TimeSpan patience);
}
