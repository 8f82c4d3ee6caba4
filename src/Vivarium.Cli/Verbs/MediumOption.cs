namespace Vivarium.Cli.Verbs;

/// <summary><c>--cdrom FILE[,bus=ide|ahci]</c> and <c>--floppy FILE[,readonly][,overlay]</c>; <c>none</c> for an empty drive, commas in FILE doubled.</summary>
internal static class MediumOption
{
    private const string Nothing = "none";

    /// <exception cref="InvalidInputException">The text is no CD drive; the message says why.</exception>
    public static CdromSpec ParseCdrom(string text)
    {
        List<string> parts = OptionParts.Split(text);
        var drive = new CdromSpec { Path = File(parts[0], text, "--cdrom FILE[,bus=ide|ahci]") };
        foreach (string part in parts.Skip(1))
        {
            drive = part switch
            {
                "bus=ide" => drive with { Bus = DiskBus.Ide },
                "bus=ahci" => drive with { Bus = DiskBus.Ahci },
                _ => throw new InvalidInputException($"the CD drive '{text}' has the unknown property '{part}'; write --cdrom FILE[,bus=ide|ahci]"),
            };
        }

        return drive;
    }

    /// <exception cref="InvalidInputException">The text is no floppy drive; the message says why.</exception>
    public static FloppySpec ParseFloppy(string text)
    {
        List<string> parts = OptionParts.Split(text);
        var drive = new FloppySpec { Path = File(parts[0], text, "--floppy FILE[,readonly][,overlay]") };
        foreach (string part in parts.Skip(1))
        {
            drive = part switch
            {
                "readonly" => drive with { ReadOnly = true },
                "overlay" => drive with { Overlay = true },
                _ => throw new InvalidInputException($"the floppy drive '{text}' has the unknown property '{part}'; write --floppy FILE[,readonly][,overlay]"),
            };
        }

        return drive;
    }

    private static string? File(string path, string text, string form) => path switch
    {
        "" => throw new InvalidInputException($"'{text}' names no file; write {form}, or none for an empty drive"),
        Nothing => null,
        _ => path,
    };
}
