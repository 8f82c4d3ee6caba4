namespace Vivarium.Devices;

/// <summary>Whom a frame is for.</summary>
internal enum FrameKind
{
    /// <summary>Another station.</summary>
    Other,

    /// <summary>This one.</summary>
    Physical,
    Multicast,
    Broadcast,
}
