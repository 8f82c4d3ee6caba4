using System.Globalization;

namespace Vivarium.Cli.Verbs;

/// <summary><c>--vsock PATH[,cid=N]</c>; a comma in the path is written twice.</summary>
internal static class VsockOption
{
    private const string Form = "write --vsock PATH[,cid=N], with commas in PATH doubled";
    private const string CidKey = "cid=";

    /// <exception cref="InvalidInputException">The text is no such thing; the message says why.</exception>
    public static VsockSpec Parse(string text)
    {
        List<string> parts = OptionParts.Split(text);
        if (parts[0].Length == 0)
        {
            throw new InvalidInputException($"'{text}' names no socket; {Form}");
        }

        var vsock = new VsockSpec { Path = parts[0] };
        if (parts.Count == 1)
        {
            return vsock;
        }

        if (parts.Count > 2 || !parts[1].StartsWith(CidKey, StringComparison.Ordinal))
        {
            throw new InvalidInputException($"the vsock '{text}' has the unknown property '{parts[^1]}'; {Form}");
        }

        string cid = parts[1][CidKey.Length..];
        return uint.TryParse(cid, NumberStyles.None, CultureInfo.InvariantCulture, out uint number)
            ? vsock with { Cid = number }
            : throw new InvalidInputException($"'{cid}' is no CID; a guest's is a number from 3 to 4294967294");
    }
}
