namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// How often translations were lost of late because the guest had changed their code, by the granule in which they
/// began. A hash table without keys: two places may share a count, which costs one of them some speed.
/// </summary>
internal sealed class ChangeCounts
{
    private const int Buckets = 1 << 16;

    /// <summary>From so many losses on, a translation that looks for itself whether the code is still the same is cheaper.</summary>
    private const int Many = 2;

    private readonly byte[] _counts = new byte[Buckets];

    public bool Often(ulong gpa) => Count(gpa) >= Many;

    /// <summary>Two places have one count.</summary>
    public static bool AreOne(ulong gpa, ulong other) => gpa >> CodeGranules.GranuleShift == other >> CodeGranules.GranuleShift;

    public void Add(ulong gpa)
    {
        ref byte count = ref Count(gpa);
        count = (byte)Math.Min(count + 1, Many);
    }

    public void Clear() => Array.Clear(_counts);

    /// <summary>The next change there is one too many.</summary>
    public void Suspect(ulong gpa) => Count(gpa) = Many - 1;

    private ref byte Count(ulong gpa) => ref _counts[(gpa >> CodeGranules.GranuleShift) % Buckets];
}
