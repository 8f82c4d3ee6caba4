namespace Vivarium.Devices;

/// <summary>What a device demands of a saved state before it takes any of it: snapshots come from outside.</summary>
internal static class StateFormat
{
    public static void Require(bool condition, string device)
    {
        if (!condition)
            throw new InvalidDataException($"The saved state of the {device} is damaged or from another version.");
    }
}
