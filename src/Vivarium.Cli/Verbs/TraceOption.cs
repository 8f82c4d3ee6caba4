using Vivarium.Engine.Tracing;

namespace Vivarium.Cli.Verbs;

/// <summary>The words of <c>--trace</c>, <c>--trace-file</c> and <c>--trace-size</c>, understood.</summary>
/// <param name="Kinds">What is to be traced.</param>
/// <param name="File">Where to; null leaves it to the machine's name.</param>
/// <param name="Size">Bytes on disk at most.</param>
internal sealed record TraceOption(TraceKinds Kinds, string? File, long Size)
{
    private static readonly (string Name, TraceKinds Kind)[] s_kinds =
    [
        ("exits", TraceKinds.Exits),
        ("irq", TraceKinds.Irq),
        ("mmio", TraceKinds.Mmio),
        ("pio", TraceKinds.Pio),
        ("msr", TraceKinds.Msr),
    ];

    public static IEnumerable<string> Names => s_kinds.Select(known => known.Name);

    /// <summary>Null if nothing is to be traced.</summary>
    /// <exception cref="InvalidInputException">A word is not known, or goes with another that is not there.</exception>
    public static TraceOption? Parse(string? kinds, string? file, string? size)
    {
        if (kinds is null)
        {
            return file is null && size is null
                ? null
                : throw new InvalidInputException($"{(file is null ? "--trace-size" : "--trace-file")} goes with --trace; say what to trace, for example --trace pio,irq");
        }

        if (file is "")
        {
            throw new InvalidInputException("--trace-file needs a file's name");
        }

        return new TraceOption(ParseKinds(kinds), file, size is null ? TraceSpec.DefaultSize : ParseSize(size));
    }

    /// <param name="machine">The machine's name.</param>
    public TraceSpec For(string machine) => new() { Kinds = Kinds, Path = Path.GetFullPath(File ?? $"{machine}.trace"), Size = Size };

    private static TraceKinds ParseKinds(string text)
    {
        var kinds = TraceKinds.None;
        foreach (string word in text.Split(',', StringSplitOptions.TrimEntries))
        {
            kinds |= s_kinds.FirstOrDefault(known => known.Name == word) is { Name: not null } found
                ? found.Kind
                : throw new InvalidInputException($"'{word}' is nothing that can be traced; known are {string.Join(", ", Names)}");
        }

        return kinds;
    }

    private static long ParseSize(string text) => ByteSize.TryParse(text, out ulong bytes) && bytes is >= TraceSpec.SmallestSize and <= long.MaxValue
        ? (long)bytes
        : throw new InvalidInputException($"'{text}' is no size for a trace; write {ByteSize.Format((ulong)TraceSpec.SmallestSize)} or more, for example --trace-size 256M");
}
