namespace Vivarium.Engine.Software.Translate;

/// <summary>How a run begins, up to its first write, as it stands behind the call of <see cref="Thunks.ResolveRun"/>.</summary>
internal readonly record struct RunStart(ushort Word)
{
    private const int WriteBit = 1 << 15;
    private const int AlignedBit = 1 << 14;
    private const int MayNotWriteBit = 1 << 13;
    private const int OffsetMask = MayNotWriteBit - 1;

    /// <param name="offset">Of the first access: bytes above the run's lowest address.</param>
    /// <param name="write">The first access is a write.</param>
    /// <param name="aligned">It must be aligned.</param>
    /// <param name="mayNotWrite">See <see cref="MayNotWrite"/>.</param>
    public RunStart(int offset, bool write, bool aligned, bool mayNotWrite)
        : this((ushort)(offset | (write ? WriteBit : 0) | (aligned ? AlignedBit : 0) | (mayNotWrite ? MayNotWriteBit : 0)))
    {
    }

    /// <summary>The same access of a run that begins so many bytes further down.</summary>
    public RunStart Below(int bytes) => new((int)Offset + bytes, Write, Aligned, MayNotWrite);

    /// <summary>Bytes above the run's lowest address.</summary>
    public uint Offset => Word & (uint)OffsetMask;

    public bool Write => (Word & WriteBit) != 0;

    /// <summary>As <see cref="AccessRules.Aligned"/>: another fault may come first.</summary>
    public bool Aligned => (Word & AlignedBit) != 0;

    /// <summary>A fault other than that of a page may end the run before its first write.</summary>
    public bool MayNotWrite => (Word & MayNotWriteBit) != 0;
}
