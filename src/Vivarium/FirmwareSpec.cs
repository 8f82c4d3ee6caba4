namespace Vivarium;

/// <summary>Firmware that the machine starts, which then finds what to boot by itself.</summary>
public sealed record FirmwareSpec
{
    /// <summary>A file whose last byte stands right below 4 GiB: SeaBIOS, for example.</summary>
    public required string Path { get; init; }

    /// <summary>
    /// For firmware with a second flash memory right below, in which it keeps variables (OVMF): a file with the contents that a machine
    /// begins with. Null for a ROM alone.
    /// </summary>
    public string? VariablesTemplate { get; init; }

    /// <summary>The file in which this machine's variables are kept, made from the template if it is not there; null to forget them at the end.</summary>
    public string? Variables { get; init; }

    /// <summary>The program in the ROM of a classic PC's video card, which SeaBIOS finds there and runs; null if there is none.</summary>
    public string? VideoBios { get; init; }
}
