namespace Vivarium;

/// <summary>A file that a multiboot kernel gets beside itself.</summary>
public sealed record ModuleSpec
{
    public required string Path { get; init; }

    /// <summary>What the kernel is told behind the file's name.</summary>
    public string Arguments { get; init; } = "";
}
