namespace Vivarium.Expect;

/// <summary>A text that was waited for and has come.</summary>
/// <param name="Source">Where.</param>
/// <param name="Text">What the pattern matched.</param>
/// <param name="Line">The whole line in which it begins.</param>
public sealed record FoundText(TextSource Source, string Text, string Line);
