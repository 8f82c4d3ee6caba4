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

    /// <summary>
    /// The segments of 16-bit code: bases at multiples of 64 KiB, so that an offset is the low half of its linear address. ES ends
    /// within the data, and SS, which expands down, begins there.
    /// </summary>
    public const uint CodeLimit16 = 0xFFFF;
    public const uint DsLimit16 = 0xFFFF;
    public const uint EsLimit16 = 0x2BFF;
    public const uint SsLimit16 = 0x03FF;

    /// <summary>Their selectors: the first entries of the LDT, RPL 3.</summary>
    public const ushort CodeSelector16 = 0x07;
    public const ushort DsSelector16 = 0x0F;
    public const ushort EsSelector16 = 0x17;
    public const ushort SsSelector16 = 0x1F;

    /// <summary>The emitted runner's own code and blocks; not mapped in the guest.</summary>
    public const ulong RunnerBase = 0x3000_0000;
    public const int RunnerSize = 16 * PageSize;
}
