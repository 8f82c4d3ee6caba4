using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A small structure in guest RAM that guest and monitor share, at an address that the guest chose. The address may be
/// anything: each use asks anew whether it is RAM, and does nothing where it is not.
/// </summary>
internal readonly unsafe struct GuestArea(GuestMemory memory, ulong address, int size)
{
    /// <summary>The whole area in host memory, or null where a part of it is not RAM. What is written there is reported by <see cref="Written"/>.</summary>
    public byte* Host
    {
        get
        {
            var host = memory.TryGetRam(address, (ulong)size, out var contiguous);
            return contiguous == (ulong)size ? host : null;
        }
    }

    public void Written(byte* host) => memory.NoteWritten(host, (ulong)size);
}
