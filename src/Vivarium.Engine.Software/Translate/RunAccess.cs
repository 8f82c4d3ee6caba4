namespace Vivarium.Engine.Software.Translate;

/// <summary>An instruction's access to memory through one register, in a way that a run can do.</summary>
/// <param name="Base">The guest register; <see cref="None"/> if the instruction has no such access.</param>
/// <param name="Displacement">From the register as it is before the instruction.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Writes">It writes there.</param>
internal readonly record struct RunAccess(sbyte Base, int Displacement, byte Size, bool Writes)
{
    public const int None = -1;

    public static RunAccess Nothing => new(None, 0, 0, Writes: false);

    public bool Exists => Base != None;
}
