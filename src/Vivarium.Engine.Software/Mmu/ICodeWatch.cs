namespace Vivarium.Engine.Software.Mmu;

/// <summary>Who knows which bytes of the pages flagged <see cref="Vivarium.Memory.PageFlags.Code"/> have been translated.</summary>
internal interface ICodeWatch
{
    /// <summary>True if a write of these bytes changes translated code.</summary>
    bool Overlaps(ulong gpa, int size);

    /// <summary>These bytes have been written: forget what was translated from them. Returns how many blocks that were.</summary>
    int Invalidate(ulong gpa, int size);
}
