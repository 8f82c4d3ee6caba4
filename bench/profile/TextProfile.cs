using System.Globalization;
using System.Text.RegularExpressions;

namespace Vivarium.Profile;

/// <summary>How often a block of a method's IL was entered, or a jump was taken; the greatest number stands for all greater ones too. Kinds are the runtime's (PgoInstrumentationKind).</summary>
internal readonly record struct Counter(int Kind, int IlOffset, int Other, int Value);

/// <summary>What was counted in a method.</summary>
internal sealed record MethodProfile(string Name, int IlSize, IReadOnlyList<Counter> Counters);

/// <summary>The text that the runtime writes when DOTNET_WritePGOData is 1 (dotnet/runtime, pgo.cpp).</summary>
internal static partial class TextProfile
{
    private const string NamePrefix = "MethodName: ";

    /// <summary>Blocks and jumps, counted in four or eight bytes. Which types and methods were met is left out: a native program may not have them.</summary>
    private static readonly HashSet<int> s_kinds = [0x41, 0x42, 0x181, 0x182];

    public static IEnumerable<MethodProfile> Read(string path)
    {
        string name = "";
        int size = 0;
        var counters = new List<Counter>();
        Match? schema = null;
        foreach (string line in File.ReadLines(path))
        {
            if (Header().Match(line) is { Success: true } header)
            {
                if (counters.Count != 0)
                {
                    yield return new MethodProfile(name, size, counters);
                }

                counters = [];
                size = int.Parse(header.Groups["size"].ValueSpan, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            }
            else if (line.StartsWith(NamePrefix, StringComparison.Ordinal))
            {
                name = line[NamePrefix.Length..];
            }
            else if (Schema().Match(line) is { Success: true } found)
            {
                schema = found;
            }
            else if (schema is not null)
            {
                int kind = Field(schema, "kind");
                if (s_kinds.Contains(kind) && Field(schema, "count") == 1)
                {
                    counters.Add(new Counter(kind, Field(schema, "offset"), Field(schema, "other"), ValueOf(line)));
                }

                schema = null;
            }
        }

        if (counters.Count != 0)
        {
            yield return new MethodProfile(name, size, counters);
        }
    }

    /// <summary>Some are written without their sign.</summary>
    private static int Field(Match schema, string name) => (int)long.Parse(schema.Groups[name].ValueSpan, CultureInfo.InvariantCulture);

    /// <summary>Eight bytes are written as two numbers, the low half first.</summary>
    private static int ValueOf(string line)
    {
        uint[] halves = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(half => uint.Parse(half, CultureInfo.InvariantCulture))];
        return halves.Length == 1 || halves[1] == 0 ? (int)Math.Min(halves[0], int.MaxValue) : int.MaxValue;
    }

    [GeneratedRegex("^@@@ .* ilSize 0x(?<size>[0-9A-F]+) ")]
    private static partial Regex Header();

    [GeneratedRegex(@"^Schema InstrumentationKind (?<kind>\d+) ILOffset (?<offset>-?\d+) Count (?<count>\d+) Other (?<other>-?\d+)")]
    private static partial Regex Schema();
}
