using Vivarium.Engine.Tracing;

namespace Vivarium;

/// <summary>What a machine is to write down while it runs.</summary>
public sealed record TraceSpec
{
    public const long DefaultSize = 64L << 20;
    public const long SmallestSize = 64L << 10;

    public required TraceKinds Kinds { get; init; }

    /// <summary>Where: made anew. When it has grown to half of <see cref="Size"/>, it is renamed to the same with ".old" behind it, and begun again.</summary>
    public required string Path { get; init; }

    /// <summary>Bytes on disk at most, both files together.</summary>
    public long Size { get; init; } = DefaultSize;

    /// <exception cref="InvalidInputException">Something is wrong; the message says what.</exception>
    internal void Validate()
    {
        if (Size < SmallestSize)
        {
            throw new InvalidInputException($"a trace of {Size} bytes is too small; give it at least {ByteSize.Format((ulong)SmallestSize)}");
        }
    }
}
