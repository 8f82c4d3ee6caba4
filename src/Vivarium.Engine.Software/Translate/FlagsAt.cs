namespace Vivarium.Engine.Software.Translate;

/// <summary>Where the guest's arithmetic flags are at a point of a translation; at least one of these.</summary>
[Flags]
internal enum FlagsAt : byte
{
    Nowhere = 0,

    /// <summary>In the host's RFLAGS.</summary>
    Host = 1,

    /// <summary>In <see cref="NativeState.SavedFlags"/>.</summary>
    Saved = 2,

    /// <summary>They can be made again, by a <see cref="FlagRecipe"/>.</summary>
    Recipe = 4,
}
