namespace Vivarium.Cli.Verbs;

/// <summary><c>--share HOSTDIR:TAG[,readonly]</c>; a comma in the folder's name is written twice, and the last colon is the one before the tag.</summary>
internal static class ShareOption
{
    private const string Form = "write --share HOSTDIR:TAG[,readonly], for example --share .:work, with commas in HOSTDIR doubled";

    /// <exception cref="InvalidInputException">The text is no share; the message says why.</exception>
    public static ShareSpec Parse(string text)
    {
        List<string> parts = OptionParts.Split(text);
        int colon = parts[0].LastIndexOf(':');
        if (colon < 0)
        {
            throw new InvalidInputException($"the share '{text}' has no tag by which the guest finds it; {Form}");
        }

        var share = new ShareSpec { Path = parts[0][..colon], Tag = parts[0][(colon + 1)..] };
        foreach (string part in parts.Skip(1))
        {
            share = part switch
            {
                "readonly" when share.ReadOnly => throw new InvalidInputException($"the share '{text}' says readonly twice"),
                "readonly" => share with { ReadOnly = true },
                _ => throw new InvalidInputException($"the share '{text}' has the unknown property '{part}'; {Form}"),
            };
        }

        return share;
    }
}
