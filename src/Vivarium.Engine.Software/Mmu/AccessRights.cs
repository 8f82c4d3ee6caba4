namespace Vivarium.Engine.Software.Mmu;

/// <summary>Which accesses a page's rights allow (SDM vol. 3A, 4.6.1).</summary>
internal static class AccessRights
{
    /// <summary>
    /// Implicit supervisor accesses (descriptor tables, TSS) come as <see cref="AddressSpace.Supervisor"/>: EFLAGS.AC does
    /// not suspend SMAP for them.
    /// </summary>
    public static bool Permit(PageRights rights, in PagingContext paging, Access access, AddressSpace space)
    {
        if (access == Access.Inspect)
        {
            return true;
        }

        bool userPage = (rights & PageRights.User) != 0;
        if (access == Access.Execute)
        {
            bool privilege = space == AddressSpace.User ? userPage : !(userPage && paging.Smep);
            return privilege && (rights & PageRights.NoExecute) == 0;
        }

        bool write = access == Access.Write;
        bool writable = (rights & PageRights.Writable) != 0;
        if (space == AddressSpace.User)
        {
            return userPage && (!write || writable);
        }

        if (userPage && paging.Smap && space != AddressSpace.SupervisorAc)
        {
            return false;
        }

        return !write || writable || !paging.WriteProtect;
    }
}
