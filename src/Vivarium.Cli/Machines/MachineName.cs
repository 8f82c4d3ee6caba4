namespace Vivarium.Cli.Machines;

/// <summary>Names of machines: labels of host names (RFC 1123, 2.1) in small letters, 1 to 63 characters.</summary>
internal static class MachineName
{
    public const int LongestLength = 63;

    private static readonly string[] s_qualities =
    [
        "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "cosy", "curious", "dapper", "eager", "early",
        "fair", "fluffy", "fresh", "gentle", "glad", "golden", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind",
        "lively", "lucky", "mellow", "merry", "mild", "misty", "neat", "nimble", "noble", "placid", "polite", "quick", "quiet",
        "rosy", "silent", "silver", "sleepy", "snug", "solid", "steady", "sunny", "swift", "tidy", "tiny", "warm", "witty",
    ];

    private static readonly string[] s_animals =
    [
        "badger", "beaver", "bison", "bunny", "camel", "cat", "condor", "cricket", "curlew", "dolphin", "eagle", "falcon",
        "ferret", "finch", "fox", "gecko", "gibbon", "goose", "hamster", "hare", "heron", "ibex", "jackdaw", "kestrel", "koala",
        "lemur", "linnet", "llama", "lynx", "magpie", "marmot", "marten", "mole", "newt", "ocelot", "otter", "owl", "panda",
        "pelican", "penguin", "puffin", "rabbit", "raven", "robin", "salmon", "seal", "sparrow", "squirrel", "tapir", "toucan",
        "turtle", "walrus", "weasel", "wombat", "zebra",
    ];

    /// <exception cref="InvalidInputException">The text is no name for a machine.</exception>
    public static void Check(string name)
    {
        if (!IsValid(name))
        {
            throw new InvalidInputException($"'{name}' cannot name a machine; use small letters, digits and inner hyphens, {LongestLength} at most, for example --name web-1");
        }
    }

    public static bool IsValid(string name) => name.Length is > 0 and <= LongestLength
        && name[0] != '-'
        && name[^1] != '-'
        && name.AsSpan().IndexOfAnyExcept(s_allowed) < 0;

    /// <summary>Two words that can be said aloud.</summary>
    public static string MakeUp(Random random) =>
        $"{s_qualities[random.Next(s_qualities.Length)]}-{s_animals[random.Next(s_animals.Length)]}";

    private static readonly System.Buffers.SearchValues<char> s_allowed = System.Buffers.SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789-");
}
