namespace Vivarium.Engine.Software.Decode;

/// <summary>What an instruction form does with the six arithmetic flags (SDM vol. 1, 3.4.3.1).</summary>
internal enum FlagUse : byte
{
    None,

    /// <summary>Reads some, changes none.</summary>
    Reads,

    /// <summary>Leaves all six new, whatever they were (perhaps undefined).</summary>
    Replaces,

    /// <summary>As <see cref="Replaces"/> if the constant count is not 0, else <see cref="Changes"/>.</summary>
    ReplacesIfCounted,

    /// <summary>Some remain, or the new ones depend on the old ones.</summary>
    Changes,
}
