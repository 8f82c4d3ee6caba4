namespace Vivarium.Network;

/// <summary>The guest's side of a network: takes frames for the guest, from any thread.</summary>
public interface INetworkSink
{
    /// <summary>
    /// Gives the guest a frame. False when the guest has no buffers for it now; then the same frame comes again after
    /// <see cref="INetworkBackend.ReceiveReady"/>.
    /// </summary>
    bool TryReceive(ReadOnlySpan<byte> frame, in FrameOffload offload);

    /// <summary>Ends a batch of frames: the guest may be interrupted now.</summary>
    void Flush();
}
