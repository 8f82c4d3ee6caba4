using Vivarium.Cli.Guests;

namespace Vivarium.Cli.Verbs;

/// <summary>The words of <c>--firmware</c>: a name that viv knows, or a file.</summary>
internal sealed record FirmwareOption(string Text)
{
    public const string Bios = "bios";

    private const string BiosFile = "bios-256k.bin";
    private const string VideoBiosFile = "vgabios-stdvga.bin";

    /// <summary>What a machine starts that is not told: a classic PC without a kernel starts its BIOS.</summary>
    public static FirmwareOption? Parse(string? text, bool hasKernel, Virtualization virtualization) => text switch
    {
        "" => throw new InvalidInputException("--firmware wants bios, or a file"),
        not null when hasKernel => throw new InvalidInputException("a machine starts either a kernel or firmware; leave out --firmware or the kernel"),
        not null => new FirmwareOption(text),
        null => hasKernel || virtualization == Virtualization.Para ? null : new FirmwareOption(Bios),
    };

    /// <summary>As far as it can be told before the files are there.</summary>
    public FirmwareSpec Draft => new() { Path = Text };

    public FirmwareSpec Obtain(GuestCache cache) => new()
    {
        Path = Text == Bios ? FirmwareFiles.SeaBios.Obtain(cache, BiosFile) : Text,
        VideoBios = FirmwareFiles.SeaBios.Obtain(cache, VideoBiosFile),
    };
}
