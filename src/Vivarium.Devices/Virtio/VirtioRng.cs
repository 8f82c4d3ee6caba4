using Vivarium.Devices.Host;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>An entropy device (virtio 1.2, 5.4): the host kernel's random numbers.</summary>
public sealed class VirtioRng(GuestMemory memory) : VirtioDevice(VirtioDeviceType.Entropy, 0, memory, 0, QueueSize)
{
    private const ushort QueueSize = 64;

    /// <summary>More than this is not given at once, however much the driver asks for.</summary>
    private const int MaxRequest = 4096;

    public VirtioRngState Save() => new() { Device = SaveCommon() };

    public void Restore(VirtioRngState state)
    {
        StateFormat.Require(state.Version == VirtioRngState.CurrentVersion && state.Device is not null, "virtio entropy device");
        RestoreCommon(state.Device!);
    }

    /// <inheritdoc/>
    protected override void Serve(Virtqueue queue, VirtqueueChain chain)
    {
        if (chain.Writable.Length == 0)
            NeedReset("an entropy buffer cannot be written");
        var written = 0;
        foreach (ref readonly var segment in chain.Writable.Span)
        {
            var part = segment.Span[..Math.Min(segment.Span.Length, MaxRequest - written)];
            written += LinuxRandom.Fill(part);
            if (written == MaxRequest)
                break;
        }

        queue.Push(chain, (uint)written);
    }
}
