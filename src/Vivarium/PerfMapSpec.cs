namespace Vivarium;

/// <summary>Tell the host's <c>perf</c> what the translated code is: a map in /tmp, by the number of this process.</summary>
public sealed record PerfMapSpec
{
    /// <summary>
    /// Where the guest's symbols stand: System.map or a copy of the guest's /proc/kallsyms, or ELF files. What is in none
    /// of them is called by its address.
    /// </summary>
    public IReadOnlyList<string> Symbols { get; init; } = [];
}
