using Vivarium.Memory;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>A guest page with translated code, or with code that is being translated.</summary>
/// <param name="number">Guest-physical page number.</param>
/// <param name="granules">The word of <see cref="CodeGranules"/> of the memory that stood there when the page was made; null for none.</param>
/// <param name="flags">The flags of that memory, or null.</param>
internal sealed unsafe class CodePage(ulong number, ulong* granules, PageFlags* flags)
{
    private int _unsettled;
    private int _blocks = Chain.None;

    public ulong Number => number;

    public PageFlags* Flags => flags;

    /// <summary>A chain of <see cref="Chains{T}"/>.</summary>
    public ref int Blocks => ref _blocks;

    /// <summary>Which granules the blocks were made from.</summary>
    public ulong Granules { get; set; }

    /// <summary>How many vCPUs are about to translate from the page.</summary>
    public int Translators { get; set; }

    /// <summary>It was thrown away, with its blocks, and is not watched any more: another may have taken its place.</summary>
    public bool Gone { get; set; }

    /// <summary>How many writes took blocks away since the page was last translated from.</summary>
    public int Losses { get; set; }

    /// <summary>Some vCPU that wants to translate has taken write tags away, and waits until nobody can be writing by one.</summary>
    public bool Unsettled => Volatile.Read(ref _unsettled) != 0;

    /// <summary>Tags are about to be taken away.</summary>
    public void Unsettle() => Interlocked.Increment(ref _unsettled);

    /// <summary>Who had one has stopped writing by it.</summary>
    public void Settle() => Interlocked.Decrement(ref _unsettled);

    /// <summary>Tells those who write which granules to leave alone.</summary>
    public void Publish()
    {
        if (granules != null)
        {
            Volatile.Write(ref *granules, Translators != 0 ? CodeGranules.Everything : Granules);
        }
    }
}
