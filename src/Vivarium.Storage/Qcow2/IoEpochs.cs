namespace Vivarium.Storage.Qcow2;

/// <summary>
/// Tells when a cluster that has been taken out of the mapping is no longer the target of any transfer. Data transfers run
/// without the lock on the metadata, so one may still be going on when another queue discards its cluster; were the cluster
/// given to somebody else at once, that transfer would hit the new owner. Each transfer belongs to the epoch in which it
/// began; an epoch can end when all transfers of the one before are over. <see cref="Leave"/> alone may be called without
/// the metadata lock.
/// </summary>
internal sealed class IoEpochs
{
    private readonly int[] _running = new int[2];

    /// <summary>The epoch now.</summary>
    public long Current { get; private set; }

    /// <returns>What <see cref="Leave"/> has to be told.</returns>
    public int Enter()
    {
        int parity = (int)(Current & 1);
        Interlocked.Increment(ref _running[parity]);
        return parity;
    }

    public void Leave(int parity) => Interlocked.Decrement(ref _running[parity]);

    /// <summary>Ends as many epochs as can end now.</summary>
    public void Advance()
    {
        for (int i = 0; i < 2 && Volatile.Read(ref _running[(int)((Current + 1) & 1)]) == 0; i++)
        {
            Current++;
        }
    }

    /// <summary>Whether all transfers that began in that epoch or before are over.</summary>
    public bool IsOver(long epoch) => Current >= epoch + 2;
}
