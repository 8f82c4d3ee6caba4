namespace Vivarium.Engine.Software.Translate;

/// <summary>The first access of a run, as it stands behind the call of <see cref="Thunks.ResolveRun"/>.</summary>
internal readonly record struct RunStart(ushort Word)
{
    private const int WriteBit = 1 << 15;
    private const int AlignedBit = 1 << 14;
    private const int OffsetMask = AlignedBit - 1;

    public RunStart(int offset, bool write, bool aligned)
        : this((ushort)(offset | (write ? WriteBit : 0) | (aligned ? AlignedBit : 0)))
    {
    }

    /// <summary>The same access of a run that begins so many bytes further down.</summary>
    public RunStart Below(int bytes) => new((int)Offset + bytes, Write, Aligned);

    /// <summary>Bytes above the run's lowest address.</summary>
    public uint Offset => Word & (uint)OffsetMask;

    public bool Write => (Word & WriteBit) != 0;

    /// <summary>As <see cref="AccessRules.Aligned"/>: another fault may come first.</summary>
    public bool Aligned => (Word & AlignedBit) != 0;
}
