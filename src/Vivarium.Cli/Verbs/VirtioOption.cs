namespace Vivarium.Cli.Verbs;

/// <summary><c>--virtio pci|mmio[,packed|split]</c>.</summary>
internal static class VirtioOption
{
    /// <exception cref="InvalidInputException">The text says something else.</exception>
    public static VirtioSpec Parse(string text)
    {
        string[] parts = text.Split(',');
        VirtioTransport? transport = parts[0] switch
        {
            "pci" => VirtioTransport.Pci,
            "mmio" => VirtioTransport.Mmio,
            _ => null,
        };
        bool? packed = parts.Length == 1 ? false : parts[1] switch
        {
            "packed" => true,
            "split" => false,
            _ => null,
        };
        return transport is null || packed is null || parts.Length > 2
            ? throw new InvalidInputException($"'{text}' is no way to attach virtio devices; write --virtio pci or mmio, and after a comma the rings: split or packed")
            : new VirtioSpec { Transport = transport.Value, PackedRings = packed.Value };
    }
}
