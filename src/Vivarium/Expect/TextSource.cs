namespace Vivarium.Expect;

/// <summary>Where text of the guest can be read.</summary>
[Flags]
public enum TextSource
{
    /// <summary>What the guest writes to its serial line, or to its virtio console if it has one.</summary>
    Serial = 1,

    /// <summary>What is on the screen in a text mode, and what has scrolled off it.</summary>
    Screen = 2,

    Any = Serial | Screen,
}
