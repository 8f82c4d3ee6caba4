using Vivarium.Cli.Guests;
using Vivarium.Cli.Machines;

namespace Vivarium.Cli.Verbs;

/// <summary>The words of <c>--firmware</c>: a name that viv knows, or a file.</summary>
internal sealed record FirmwareOption(string Text)
{
    public const string Bios = "bios";

    public const string Uefi = "uefi";

    private const string BiosFile = "bios-256k.bin";
    private const string UefiFile = "OVMF_CODE_4M.fd";
    private const string UefiVariablesFile = "OVMF_VARS_4M.fd";
    private const string VideoBiosFile = "vgabios-stdvga.bin";

    /// <summary>What a machine starts that is not told: a classic PC starts its BIOS, unless it has a kernel that does without.</summary>
    /// <param name="text">The option's value; null if it was not given.</param>
    /// <param name="kernel">The kernel's file; null if none was named.</param>
    /// <param name="hasGuest">A guest was named, which brings its own kernel.</param>
    public static FirmwareOption? Parse(string? text, string? kernel, bool hasGuest, Virtualization virtualization) => text switch
    {
        "" => throw new InvalidInputException("--firmware wants bios, uefi, or a file"),
        not null when hasGuest => throw new InvalidInputException("a named guest brings a kernel that starts without firmware; leave out --firmware or the name"),
        not null => new FirmwareOption(text),
        _ when virtualization == Virtualization.Para || hasGuest => null,
        _ => kernel is null || MachineSpec.CallsFirmware(kernel) ? new FirmwareOption(Bios) : null,
    };

    /// <summary>As far as it can be told before the files are there.</summary>
    public FirmwareSpec Draft => new() { Path = Text };

    /// <param name="cache">Where packages are unpacked.</param>
    /// <param name="name">What the user calls the machine, whose variables are kept under that name; null: they are forgotten at the end.</param>
    public FirmwareSpec Obtain(GuestCache cache, string? name) => Text == Uefi
        ? new FirmwareSpec
        {
            Path = FirmwareFiles.Ovmf.Obtain(cache, UefiFile),
            VariablesTemplate = FirmwareFiles.Ovmf.Obtain(cache, UefiVariablesFile),
            Variables = name is null ? null : KeptVariables(name),
            VideoBios = FirmwareFiles.SeaBios.Obtain(cache, VideoBiosFile),
        }
        : new FirmwareSpec
        {
            Path = Text == Bios ? FirmwareFiles.SeaBios.Obtain(cache, BiosFile) : Text,
            VideoBios = FirmwareFiles.SeaBios.Obtain(cache, VideoBiosFile),
        };

    /// <summary>In the folder of what machines keep, as their disks are.</summary>
    private static string KeptVariables(string name)
    {
        string folder = Path.Combine(PersistentGuest.DataHome(), "variables");
        Directory.CreateDirectory(folder);
        return Path.Combine(folder, name + ".fd");
    }
}
