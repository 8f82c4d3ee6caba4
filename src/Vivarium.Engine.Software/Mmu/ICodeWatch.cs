namespace Vivarium.Engine.Software.Mmu;

/// <summary>Who knows which bytes of the pages flagged <see cref="Vivarium.Memory.PageFlags.Code"/> have been translated.</summary>
internal interface ICodeWatch
{
    /// <summary>True if a write of these bytes changes translated code.</summary>
    bool Overlaps(ulong gpa, int size);

    /// <summary>These bytes are about to be written: forget what was translated from them.</summary>
    void Invalidate(ulong gpa, int size);
}
