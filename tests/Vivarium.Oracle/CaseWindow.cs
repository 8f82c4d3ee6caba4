namespace Vivarium.Oracle;

/// <summary>
/// The linear addresses of a case, the same in this process and in the guest. All are below 2 GiB, so that absolute
/// 32-bit displacements and 32-bit address sizes reach them.
/// </summary>
internal static class CaseWindow
{
    public const int PageSize = 4096;

    /// <summary>The case's instructions: readable, executable.</summary>
    public const ulong CodeBase = 0x1000_0000;
    public const int CodeSize = 16 * PageSize;

    /// <summary>The case's data and stack: readable, writable, not executable; an unmapped page lies before it.</summary>
    public const ulong DataBase = 0x2000_0000;
    public const int DataSize = 3 * PageSize;

    /// <summary>Follows the data: read-only. An unmapped page lies behind it.</summary>
    public const ulong ReadOnlyBase = DataBase + DataSize;
    public const int ReadOnlySize = PageSize;
    public const ulong WindowEnd = ReadOnlyBase + ReadOnlySize;

    /// <summary>The emitted runner's own code and blocks; not mapped in the guest.</summary>
    public const ulong RunnerBase = 0x3000_0000;
    public const int RunnerSize = 16 * PageSize;
}
