namespace Vivarium.Devices;

/// <summary>The buttons of a mouse, in the order of the PS/2 mouse's first byte.</summary>
[Flags]
public enum PointerButtons : byte
{
    None = 0,
    Left = 1 << 0,
    Right = 1 << 1,
    Middle = 1 << 2,

    /// <summary>The side buttons, which not every guest sees.</summary>
    Back = 1 << 3,
    Forward = 1 << 4,
}
