namespace Vivarium.Network;

/// <summary>What <c>--net</c> asks for.</summary>
public abstract record NetworkOption
{
    private NetworkOption()
    {
    }

    /// <summary>No network card.</summary>
    public sealed record None : NetworkOption
    {
        public override string ToString() => "none";
    }

    /// <summary>Address translation in user mode, which needs no privileges.</summary>
    public sealed record User : NetworkOption
    {
        public override string ToString() => "user";
    }

    /// <summary>A TAP interface of the host.</summary>
    public sealed record Tap(string Interface) : NetworkOption
    {
        public override string ToString() => $"tap:{Interface}";
    }

    /// <summary>Reads <c>user</c>, <c>none</c> or <c>tap:INTERFACE</c>.</summary>
    /// <exception cref="FormatException">One sentence that says what is wrong.</exception>
    public static NetworkOption Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        const string TapPrefix = "tap:";
        return text switch
        {
            "none" => new None(),
            "user" => new User(),
            "tap" or TapPrefix => throw new FormatException("'tap' needs the name of an interface of this host; write tap:INTERFACE, for instance tap:tap0."),
            _ when text.StartsWith(TapPrefix, StringComparison.Ordinal) => new Tap(InterfaceName(text[TapPrefix.Length..])),
            _ => throw new FormatException($"There is no network '{text}'; use user, none or tap:INTERFACE."),
        };
    }

    /// <summary>dev_valid_name of Linux: at most 15 bytes, no slash, colon or white space, and not a folder's dots.</summary>
    private static string InterfaceName(string name) =>
        name.Length <= 15 && name is not ("." or "..") && name.All(c => c is > ' ' and < '\x7F' and not ('/' or ':' or '%'))
            ? name
            : throw new FormatException($"'{name}' cannot be the name of an interface: at most 15 characters, without blanks, slashes, colons and percent signs.");
}
