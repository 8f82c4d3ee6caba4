namespace Vivarium.Devices;

/// <summary>
/// What a network card is plugged into. The card calls it on the thread of the vCPU that notified it, without any lock; it
/// calls the card's <see cref="INetworkSink"/> from its own thread or from within these calls.
/// </summary>
public interface INetworkBackend
{
    /// <summary>What may be left to this backend in the frames that it is sent.</summary>
    NetworkOffloads Offloads { get; }

    /// <summary>What the frames that it delivers may leave to the guest, if the guest agrees.</summary>
    NetworkOffloads ReceiveOffloads { get; }

    /// <summary>The largest packet without its Ethernet header that the guest should be told of; 0 for 1500, untold.</summary>
    int Mtu { get; }

    /// <summary>Delivers frames to this sink from now on, instead of to the one before: a reset makes a new card.</summary>
    void Attach(INetworkSink sink);

    /// <summary>What of <see cref="ReceiveOffloads"/> the guest takes from now on; nothing before the first call.</summary>
    void SetReceiveOffloads(NetworkOffloads accepted);

    /// <summary>
    /// Takes one frame of the guest, which may still change while it is read: it is guest memory. What cannot be sent is
    /// dropped. <see cref="Flush"/> follows the last frame of a batch.
    /// </summary>
    void Send(ReadOnlySpan<IoSegment> frame, in FrameOffload offload);

    /// <summary>Ends a batch of frames.</summary>
    void Flush();

    /// <summary>The guest may have room again after the sink refused a frame.</summary>
    void ReceiveReady();
}
