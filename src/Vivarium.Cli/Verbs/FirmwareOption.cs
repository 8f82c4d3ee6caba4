using Vivarium.Cli.Guests;

namespace Vivarium.Cli.Verbs;

/// <summary>The words of <c>--firmware</c>: a name that viv knows, or a file.</summary>
internal sealed record FirmwareOption(string Text)
{
    public const string Bios = "bios";

    private const string BiosFile = "bios-256k.bin";
    private const string VideoBiosFile = "vgabios-stdvga.bin";

    /// <summary>What a machine starts that is not told: a classic PC starts its BIOS, unless it has a kernel that does without.</summary>
    /// <param name="text">The option's value; null if it was not given.</param>
    /// <param name="kernel">The kernel's file; null if none was named.</param>
    /// <param name="hasGuest">A guest was named, which brings its own kernel.</param>
    public static FirmwareOption? Parse(string? text, string? kernel, bool hasGuest, Virtualization virtualization) => text switch
    {
        "" => throw new InvalidInputException("--firmware wants bios, or a file"),
        not null when hasGuest => throw new InvalidInputException("a named guest brings a kernel that starts without firmware; leave out --firmware or the name"),
        not null => new FirmwareOption(text),
        _ when virtualization == Virtualization.Para || hasGuest => null,
        _ => kernel is null || MachineSpec.CallsFirmware(kernel) ? new FirmwareOption(Bios) : null,
    };

    /// <summary>As far as it can be told before the files are there.</summary>
    public FirmwareSpec Draft => new() { Path = Text };

    public FirmwareSpec Obtain(GuestCache cache) => new()
    {
        Path = Text == Bios ? FirmwareFiles.SeaBios.Obtain(cache, BiosFile) : Text,
        VideoBios = FirmwareFiles.SeaBios.Obtain(cache, VideoBiosFile),
    };
}
