using Vivarium.Storage.Host;

namespace Vivarium.Storage.Qcow2;

/// <summary>Changes of the refcount table on their way to the file.</summary>
/// <param name="Entries">Single entries.</param>
/// <param name="Whole">The whole table, if it has moved.</param>
/// <param name="Offset">Where the table is.</param>
/// <param name="Clusters">Its size.</param>
internal sealed record TableUpdate(List<(int Index, ulong Entry)> Entries, ulong[]? Whole, long Offset, int Clusters)
{
    /// <summary>Writes them; a table that has moved comes into force by the header, after it is on the disk itself.</summary>
    public void WriteTo(HostFile file, bool needsBarriers)
    {
        if (Whole is null)
        {
            foreach ((int index, ulong entry) in Entries)
            {
                BigEndianTable.WriteEntry(file, Offset, index, entry);
            }

            return;
        }

        BigEndianTable.Write(file, Offset, Whole);
        if (needsBarriers)
        {
            file.Flush();
        }

        var header = new Qcow2Header { RefcountTableOffset = Offset, RefcountTableClusters = Clusters };
        header.UpdateRefcountTable(file);
    }
}
