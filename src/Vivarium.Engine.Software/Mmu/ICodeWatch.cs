namespace Vivarium.Engine.Software.Mmu;

/// <summary>Who knows which bytes of the pages flagged <see cref="Vivarium.Memory.PageFlags.Code"/> have been translated.</summary>
internal unsafe interface ICodeWatch
{
    /// <summary>
    /// These bytes of one page are about to be written: forgets what was translated from them, so that they can be. Returns
    /// how many blocks that were; negative if the bytes must not be written yet, because they are just being translated or
    /// are those of the running block: they are to be written in another way and then reported.
    /// </summary>
    /// <param name="running">Host address in the block that goes on after the write; null if none does.</param>
    int GiveWay(ulong gpa, int size, byte* running);

    /// <summary>These bytes have been written: forget what was translated from them. Returns how many blocks that were.</summary>
    int Invalidate(ulong gpa, int size);
}
