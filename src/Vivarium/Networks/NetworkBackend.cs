using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vivarium.Network;

namespace Vivarium.Networks;

/// <summary>
/// A network as a card sees it. Rooms that know nothing of each other say the same things in records of the same layout,
/// so nothing is copied.
/// </summary>
internal sealed class NetworkBackend(INetworkBackend network) : Devices.INetworkBackend
{
    static NetworkBackend()
    {
        if (Unsafe.SizeOf<Devices.IoSegment>() != Unsafe.SizeOf<FrameSegment>() || Unsafe.SizeOf<Devices.FrameOffload>() != Unsafe.SizeOf<FrameOffload>())
        {
            throw new InvalidOperationException("devices and networks describe frames differently");
        }
    }

    public Devices.NetworkOffloads Offloads => (Devices.NetworkOffloads)network.Offloads;

    public Devices.NetworkOffloads ReceiveOffloads => (Devices.NetworkOffloads)network.ReceiveOffloads;

    public int Mtu => network.Mtu;

    public void Attach(Devices.INetworkSink sink) => network.Attach(new Sink(sink));

    public void SetReceiveOffloads(Devices.NetworkOffloads accepted) => network.SetReceiveOffloads((NetworkOffloads)accepted);

    public void Send(ReadOnlySpan<Devices.IoSegment> frame, in Devices.FrameOffload offload) =>
        network.Send(MemoryMarshal.Cast<Devices.IoSegment, FrameSegment>(frame), Unsafe.BitCast<Devices.FrameOffload, FrameOffload>(offload));

    public void Flush() => network.Flush();

    public void ReceiveReady() => network.ReceiveReady();

    private sealed class Sink(Devices.INetworkSink card) : INetworkSink
    {
        public bool TryReceive(ReadOnlySpan<byte> frame, in FrameOffload offload) =>
            card.TryReceive(frame, Unsafe.BitCast<FrameOffload, Devices.FrameOffload>(offload));

        public void Flush() => card.Flush();
    }
}
