using System.Runtime.InteropServices;
using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>
/// Page tables that map the first 4 GiB one to one in 2 MiB pages (SDM vol. 3A, 4.5): all that a loader places is
/// below, and every CPU model has pages of that size.
/// </summary>
internal static class IdentityPageTables
{
    private const ulong Present = 1 << 0;
    private const ulong Writable = 1 << 1;
    private const ulong PageSize = 1 << 7;
    private const ulong LargePage = 2ul << 20;
    private const int Directories = 4;
    private const int EntriesPerTable = 512;

    /// <summary>Writes the tables and returns the value for CR3.</summary>
    public static ulong Write(GuestMemory memory)
    {
        const ulong tableSize = GuestMemory.PageSize;
        const ulong pml4 = LowMemory.PageTables;
        const ulong pdpt = pml4 + tableSize;
        const ulong directories = pdpt + tableSize;

        ulong[] entries = new ulong[(2 + Directories) * EntriesPerTable];
        entries[0] = pdpt | Present | Writable;
        for (int i = 0; i < Directories; i++)
        {
            entries[EntriesPerTable + i] = (directories + (ulong)i * tableSize) | Present | Writable;
        }

        for (int i = 0; i < Directories * EntriesPerTable; i++)
        {
            entries[2 * EntriesPerTable + i] = (ulong)i * LargePage | Present | Writable | PageSize;
        }

        memory.Write(pml4, MemoryMarshal.AsBytes(entries.AsSpan()));
        return pml4;
    }
}
