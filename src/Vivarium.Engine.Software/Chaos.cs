namespace Vivarium.Engine.Software;

/// <summary>
/// Makes rare things frequent, for tests: kicks, flushes of the TLB, evictions of all translations. Guests behave as without
/// it, only slower. The same seed makes the same choices on each vCPU.
/// </summary>
internal sealed class Chaos
{
    private const int PollsPerThousand = 100;
    private const int KicksPerThousand = 10;
    private const int FlushesPerThousand = 5;

    /// <summary>
    /// On average, between two evictions: so many rounds of the run loop, and one more for so many translations that will have to be made
    /// again. A guest with much code would not come to anything else otherwise.
    /// </summary>
    private const int RoundsPerEviction = 2_000;
    private const int LostBlocksPerRound = 2;

    private ulong _state;

    /// <param name="seed">Of the whole machine.</param>
    /// <param name="vcpu">The vCPU's number.</param>
    public Chaos(uint seed, int vcpu) => _state = ((ulong)seed << 8 | (byte)vcpu) * 0x9E37_79B9_7F4A_7C15 | 1;

    /// <summary>Translated code is to come back at the next place where it looks.</summary>
    public bool Polls => Chance(PollsPerThousand * 1000);

    /// <summary>The run loop is to return.</summary>
    public bool Kicks => Chance(KicksPerThousand * 1000);

    /// <summary>All TLBs are to be emptied.</summary>
    public bool Flushes => Chance(FlushesPerThousand * 1000);

    /// <summary>All translations are to be thrown away.</summary>
    /// <param name="blocks">How many there are.</param>
    public bool Evicts(int blocks) => Next() % (uint)(RoundsPerEviction + (blocks / LostBlocksPerRound)) == 0;

    private bool Chance(uint perMillion) => Next() % 1_000_000 < perMillion;

    private uint Next()
    {
        // Marsaglia's xorshift64.
        _state ^= _state << 13;
        _state ^= _state >> 7;
        _state ^= _state << 17;
        return (uint)(_state >> 32);
    }
}
