namespace Vivarium.Engine.Software.CodeCache;

/// <summary>A guest page with translated code, or with code that is being translated.</summary>
/// <param name="number">Guest-physical page number.</param>
internal sealed class CodePage(ulong number)
{
    private volatile bool _settled;

    public ulong Number => number;

    public List<Block> Blocks { get; } = [];

    /// <summary>Which bytes were translated: one bit per 64 bytes.</summary>
    public ulong Granules { get; set; }

    /// <summary>How many vCPUs are about to translate from the page.</summary>
    public int Translators { get; set; }

    /// <summary>No vCPU writes to the page any more without telling.</summary>
    public bool Settled
    {
        get => _settled;
        set => _settled = value;
    }
}
