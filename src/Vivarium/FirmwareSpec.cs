namespace Vivarium;

/// <summary>Firmware that the machine starts, which then finds what to boot by itself.</summary>
public sealed record FirmwareSpec
{
    /// <summary>A file whose last byte stands right below 4 GiB: SeaBIOS, for example.</summary>
    public required string Path { get; init; }

    /// <summary>The program in the ROM of a classic PC's video card, which SeaBIOS finds there and runs; null if there is none.</summary>
    public string? VideoBios { get; init; }
}
