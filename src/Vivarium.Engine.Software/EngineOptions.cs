using System.Globalization;
using Vivarium.Engine.Software.Host;
using Vivarium.Engine.Software.Translate;

namespace Vivarium.Engine.Software;

/// <summary>How the software engine works, where there is a choice.</summary>
public sealed record EngineOptions
{
    /// <summary>Less would hold no two blocks.</summary>
    private const long SmallestCodeCache = 1 << 20;

    /// <summary>Holds a part of what a booting distribution runs.</summary>
    private const long ChaosCodeCache = 16 << 20;

    public static EngineOptions Default { get; } = new();

    /// <summary>What <see cref="Parse"/> understands as the name of an optimisation, with what it does.</summary>
    public static IReadOnlyList<(string Name, Optimizations Optimization, string Meaning)> Names { get; } =
    [
        ("string-thunks", Optimizations.StringThunks, "repeated string instructions run as the host's own within known pages"),
        ("quick-decoder", Optimizations.QuickDecoder, "the common instructions of 64-bit code have a decoder of their own"),
        ("linking", Optimizations.Linking, "direct jumps within a page go straight to the next translation"),
        ("relocation", Optimizations.Relocation, "the same code at another address is copied from its first translation"),
        ("persisted", Optimizations.Persisted, "translations are kept on disk for the next start, where a folder for them is given"),
        ("paired-returns", Optimizations.PairedReturns, "calls and returns run as the host's own, which predicts returns"),
        ("jumps-by-page", Optimizations.JumpsByPage, "jumps find translations by the physical page of their target, so that they outlive changes of the address space"),
        ("early-linking", Optimizations.EarlyLinking, "a new translation's jumps go straight to those that are there already"),
        ("copy-ahead", Optimizations.CopyAhead, "where a new translation's jumps go is copied along with it, if it was translated before"),
        ("inline-privileged", Optimizations.InlinePrivileged, "privileged instructions in their usual case do not leave translated code"),
        ("bounced-reads", Optimizations.BouncedReads, "reads across pages and of devices do not leave translated code"),
        ("second-level-tlb", Optimizations.SecondLevelTlb, "translated code searches the second-level TLB itself"),
        ("lazy-flags", Optimizations.LazyFlags, "arithmetic flags stay put aside after a memory check until something needs them"),
        ("flag-recipes", Optimizations.FlagRecipes, "arithmetic flags that can be made again are not put aside for a memory check"),
        ("shift-recipes", Optimizations.ShiftRecipes, "those of shifts by constants too"),
        ("loops", Optimizations.Loops, "loops that run long are translated again as one block"),
        ("loop-windows", Optimizations.LoopWindows, "such a loop checks once a round that its accesses stay in the same pages"),
        ("floating-code", Optimizations.FloatingCode, "one translation of a library's page serves all programs, wherever they have it mapped"),
        ("jump-sites", Optimizations.JumpSites, "jumps of such code to other pages look first where they went last"),
        ("inline-caches", Optimizations.InlineCaches, "programs' indirect calls, and jumps through pointers at constant places, look first where they went last"),
        ("long-blocks", Optimizations.LongBlocks, "a translation goes on behind conditional jumps that are not taken"),
        ("shared-checks", Optimizations.SharedChecks, "accesses in a row through one register are checked together"),
        ("stack-pages", Optimizations.StackPages, "accesses through the stack pointer look first at the page that it was in last"),
        ("known-stack", Optimizations.KnownStack, "a check of the stack covers what comes later in the translation, with other accesses in between"),
        ("held-registers", Optimizations.HeldRegisters, "R12 to R15 stay in scratch registers between checks"),
        ("beside-code", Optimizations.BesideCode, "writes beside code in its page do not leave translated code"),
        ("self-checks", Optimizations.SelfChecks, "code that is changed again and again is compared when it runs, instead of being watched"),
        ("access-switches", Optimizations.AccessSwitches, "STAC and CLAC do not end a translation"),
        ("privilege-switches", Optimizations.PrivilegeSwitches, "SYSCALL, SYSRET and IRET do not leave translated code"),
        ("system-registers", Optimizations.SystemRegisters, "control registers and segment bases are read without leaving translated code"),
        ("page-walks", Optimizations.PageWalks, "translated code walks 4-level paging structures itself"),
        ("fetch-walks", Optimizations.FetchWalks, "jumps to pages whose code was not asked for lately look into the second-level TLB and the paging structures themselves"),
        ("flush-lists", Optimizations.FlushLists, "changes of the address space empty what was filled of TLBs and jump caches, not all of them"),
        ("extended-saves", Optimizations.ExtendedSaves, "XSAVE, XSAVEC and XRSTOR do not leave translated code"),
        ("inner-returns", Optimizations.InnerReturns, "IRET within ring 0 does not leave translated code"),
        ("huge-pages", Optimizations.HugePages, "translations stand in huge pages of the host, where it makes them of shared memory"),
        ("quick-delivery", Optimizations.QuickDelivery, "faults and interrupts are delivered by what the TLB knows of the tables"),
    ];

    public Optimizations Optimizations { get; init; } = Optimizations.All;

    /// <summary>Bytes of translations to keep at most, 1 MiB to <see cref="CodeRegion.Size"/>.</summary>
    public long CodeCacheBytes { get; init; } = CodeRegion.Size;

    /// <summary>Where translations are kept from one machine to the next (a folder that only the user can write), or null.</summary>
    public string? TranslationFolder { get; init; }

    /// <summary>Compares every translation that can be copied with one made anew elsewhere: for tests.</summary>
    public bool CheckRelocation { get; init; }

    /// <summary>Takes every loop for one that runs long (<see cref="Optimizations.Loops"/>): for tests.</summary>
    public bool LoopsAtOnce { get; init; }

    /// <summary>Lets all code of programs float (<see cref="Optimizations.FloatingCode"/>), wherever it stands: for tests.</summary>
    public bool FloatsEverywhere { get; init; }

    /// <summary>
    /// For tests: random kicks, flushes of the TLB and evictions of all translations, from this seed, and by default a small
    /// code cache. Null: none.
    /// </summary>
    public uint? ChaosSeed { get; init; }

    /// <summary>
    /// Code at a RIP is translated as <see cref="BlockMode.Floating"/>: that of programs above 4 GiB, where libraries and
    /// position-independent programs stand, elsewhere in each process. What lies below stands where it was linked to.
    /// </summary>
    internal bool Floats(BlockMode mode, ulong rip)
        => (FloatsEverywhere || rip >> 32 != 0) && Has(Optimizations.FloatingCode)
            && (mode & (BlockMode.User | BlockMode.Code64 | BlockMode.Careful)) == (BlockMode.User | BlockMode.Code64);

    public bool Has(Optimizations optimization) => (Optimizations & optimization) == optimization;

    /// <summary>
    /// Understands a list such as <c>no-linking,code-cache=4M</c>: each word switches an optimisation on or (with
    /// <c>no-</c>) off, <c>none</c> and <c>all</c> switch all of them, from left to right.
    /// </summary>
    /// <exception cref="FormatException">A word is not known, or a size is out of range; the message is one sentence.</exception>
    public static EngineOptions Parse(string text)
    {
        EngineOptions options = Default;
        foreach (string word in text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            options = options.With(word);
        }

        return options;
    }

    private EngineOptions With(string word)
    {
        const string codeCache = "code-cache=";
        const string off = "no-";
        const string chaos = "chaos=";
        if (word.StartsWith(codeCache, StringComparison.Ordinal))
        {
            return this with { CodeCacheBytes = ParseSize(word[codeCache.Length..]) };
        }

        if (word.StartsWith(chaos, StringComparison.Ordinal))
        {
            return uint.TryParse(word[chaos.Length..], NumberStyles.None, CultureInfo.InvariantCulture, out uint seed)
                ? this with { ChaosSeed = seed, CodeCacheBytes = Math.Min(CodeCacheBytes, ChaosCodeCache) }
                : throw new FormatException($"'{word}' needs a number as seed, for example chaos=1");
        }

        if (word is "all" or "none")
        {
            return this with { Optimizations = word == "all" ? Optimizations.All : Optimizations.None };
        }

        if (word == "check-relocation")
        {
            return this with { CheckRelocation = true };
        }

        if (word == "loops-at-once")
        {
            return this with { LoopsAtOnce = true };
        }

        if (word == "floats-everywhere")
        {
            return this with { FloatsEverywhere = true };
        }

        bool on = !word.StartsWith(off, StringComparison.Ordinal);
        string wanted = on ? word : word[off.Length..];
        foreach ((string name, Optimizations optimization, _) in Names)
        {
            if (name == wanted)
            {
                return this with { Optimizations = on ? Optimizations | optimization : Optimizations & ~optimization };
            }
        }

        throw new FormatException($"the software engine has no option '{word}'; known are all, none, code-cache=SIZE, chaos=SEED, check-relocation, loops-at-once, floats-everywhere, and with or without no- before them: {string.Join(", ", Names.Select(known => known.Name))}");
    }

    private static long ParseSize(string text)
    {
        long unit = text.Length == 0 ? 0 : text[^1] switch { 'K' or 'k' => 1 << 10, 'M' or 'm' => 1 << 20, _ => 1 };
        string digits = unit > 1 ? text[..^1] : text;
        if (long.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out long count)
            && count <= CodeRegion.Size && count * unit is >= SmallestCodeCache and <= CodeRegion.Size)
        {
            return count * unit;
        }

        throw new FormatException($"'{text}' is no size for a code cache; it may be 1M to {CodeRegion.Size >> 20}M");
    }
}
