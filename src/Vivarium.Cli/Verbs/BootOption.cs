namespace Vivarium.Cli.Verbs;

/// <summary>The words of <c>--boot</c>: what firmware tries, in order.</summary>
internal static class BootOption
{
    public const string Names = "disk, cd, floppy, net";

    /// <summary>Null: nothing was said.</summary>
    public static IReadOnlyList<BootDevice>? Parse(string? text)
    {
        if (text is null)
        {
            return null;
        }

        BootDevice[] order = [.. text.Split(',').Select(ParseDevice)];
        return order.Distinct().Count() == order.Length
            ? order
            : throw new InvalidInputException($"--boot {text} names something twice");
    }

    private static BootDevice ParseDevice(string name) => name switch
    {
        "disk" => BootDevice.Disk,
        "cd" => BootDevice.Cd,
        "floppy" => BootDevice.Floppy,
        "net" => BootDevice.Network,
        _ => throw new InvalidInputException($"'{name}' is nothing to boot from; --boot takes {Names}, with commas between"),
    };
}
