namespace Vivarium.Engine.Software.Translate;

/// <summary>Where the guest's arithmetic flags are at a point of a translation; at least one of both.</summary>
[Flags]
internal enum FlagsAt : byte
{
    /// <summary>In the host's RFLAGS.</summary>
    Host = 1,

    /// <summary>In <see cref="NativeState.SavedFlags"/>.</summary>
    Saved = 2,
}
