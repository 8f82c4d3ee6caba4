namespace Vivarium.Oracle;

/// <summary>What a runner observed after a case.</summary>
internal sealed unsafe class Outcome
{
    public const int NoException = -1;

    public CaseState* State { get; } = CaseState.Allocate();

    /// <summary>Exception vector, or <see cref="NoException"/> when the case reached a landing pad.</summary>
    public int Vector { get; set; } = NoException;

    /// <summary>Error code; 0 where the vector has none.</summary>
    public ulong Error { get; set; }

    /// <summary>CR2 of a page fault, else 0.</summary>
    public ulong FaultAddress { get; set; }

    /// <summary>The data window afterwards.</summary>
    public byte[] Memory { get; } = new byte[CaseWindow.DataSize];

    /// <summary>The runner could not run the case to an end that the architecture knows.</summary>
    public string? Failure { get; set; }
}
