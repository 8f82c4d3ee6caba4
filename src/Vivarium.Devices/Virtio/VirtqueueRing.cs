namespace Vivarium.Devices;

/// <summary>
/// A virtqueue's format: how buffers come and go in guest memory. Everything happens with the device's lock held. What the
/// guest has written is never trusted: a mistake is returned as a sentence and the ring is not touched again.
/// </summary>
internal abstract unsafe class VirtqueueRing
{
    /// <summary>Descriptors of either format are 16 bytes: address, length and 4 bytes of their own.</summary>
    protected const int DescriptorSize = 16;

    /// <summary>Virtio 1.2, 2.7.5 and 2.8.13.</summary>
    protected const ushort Next = 1;
    protected const ushort Write = 2;
    protected const ushort Indirect = 4;

    /// <summary>Pieces stay below 2 GiB, so that a span can be made of each.</summary>
    private const ulong MaxPiece = 1ul << 30;

    private const string OutsideRam = "a buffer does not lie in RAM";

    /// <summary>What came of looking for a buffer.</summary>
    internal enum PopResult
    {
        Empty,
        Taken,
        Broken,
    }

    /// <summary>What is wrong, after <see cref="PopResult.Broken"/>.</summary>
    public string Error { get; private set; } = "";

    /// <summary>How many buffers the device holds.</summary>
    public int InFlight { get; protected set; }

    /// <summary>Takes the next available buffer.</summary>
    public abstract PopResult TryPop(VirtqueueChain chain);

    /// <summary>Makes the next <see cref="TryPop"/> give the buffer that was taken last.</summary>
    public abstract void Unpop(VirtqueueChain chain);

    /// <summary>
    /// Gives a buffer back to the driver; unless <paramref name="publish"/>, the driver sees it only together with the next
    /// one that is published.
    /// </summary>
    public abstract void Push(VirtqueueChain chain, uint written, bool publish);

    /// <summary>Asks the driver not to notify: buffers are being looked for anyway. Advice only.</summary>
    public abstract void DisableNotifications();

    /// <summary>Asks the driver to notify of the next buffer; true if one is there already.</summary>
    public abstract bool EnableNotifications();

    /// <summary>True if the driver wants to be told of the buffers pushed since it was last asked.</summary>
    public abstract bool TakeSignal();

    public abstract VirtqueueState Save(VirtqueueState registers);

    /// <summary>Gets the ring's own position; addresses and sizes have been taken already. False if it cannot be.</summary>
    public abstract bool TryRestore(VirtqueueState state);

    protected PopResult Broken(string error)
    {
        Error = error;
        return PopResult.Broken;
    }

    /// <summary>
    /// Adds one descriptor's memory to the chain, in as many pieces as the host has it. False, with <see cref="Error"/>
    /// set, if any of it may not be there.
    /// </summary>
    protected bool TryAdd(VirtqueueChain chain, Memory.GuestMemory memory, ulong address, uint length, bool writable)
    {
        if (length == 0)
            return Refuse("a descriptor is empty");
        if (chain.TotalLength + length > uint.MaxValue)
            return Refuse("a buffer is longer than 2^32 bytes");
        if (!writable && chain.WritableCapacity != 0)
            return Refuse("a readable descriptor follows a writable one");
        if (address + length < address)
            return Refuse(OutsideRam);
        ulong left = length;
        while (left != 0)
        {
            var host = memory.TryGetRam(address, Math.Min(left, MaxPiece), out var part);
            if (host == null)
                return Refuse(OutsideRam);
            chain.Add(host, part, writable);
            address += part;
            left -= part;
        }

        return true;
    }

    protected bool Refuse(string error)
    {
        Error = error;
        return false;
    }

    /// <summary>
    /// True if the driver asked to be told at <paramref name="eventIndex"/> and the index went past it from
    /// <paramref name="old"/> to <paramref name="now"/> (virtio 1.2, 2.7.10).
    /// </summary>
    protected static bool HasPassed(int eventIndex, int now, int old) =>
        (ushort)(now - eventIndex - 1) < (ushort)(now - old);
}
