namespace Vivarium.Engine.Software;

/// <summary>
/// How the vCPUs of a machine wait for each other. A vCPU <em>runs</em> while its thread is inside <see cref="IVcpu.Run"/>,
/// in translated code or in C#; it is <em>parked</em> elsewhere, and where it waits for another one. A parked vCPU holds
/// no host address that it got before, neither of guest memory that it may write to nor of translated code.
/// </summary>
/// <remarks>Nobody waits here while holding a lock that a running vCPU may want.</remarks>
internal sealed unsafe class Rendezvous
{
    private readonly Lock _exclusive = new();
    private readonly Lock _gate = new();
    private volatile SoftwareVcpu[] _vcpus = [];
    private volatile bool _closed;

    public ReadOnlySpan<SoftwareVcpu> Vcpus => _vcpus;

    /// <summary>There is one vCPU only: nobody to wait for.</summary>
    public bool Alone => _vcpus.Length == 1;

    /// <summary>Some vCPU wants to be the only one that runs: park.</summary>
    public bool Closed => _closed;

    public void Add(SoftwareVcpu vcpu)
    {
        lock (_gate)
        {
            _vcpus = [.. _vcpus, vcpu];
        }
    }

    public void Remove(SoftwareVcpu vcpu)
    {
        lock (_gate)
        {
            _vcpus = [.. _vcpus.Where(other => other != vcpu)];
        }
    }

    /// <summary>The vCPU runs from here on; waits while another one is alone. A full memory barrier.</summary>
    public void Enter(SoftwareVcpu vcpu)
    {
        while (true)
        {
            Interlocked.Exchange(ref vcpu.Running, 1);
            if (!_closed)
            {
                return;
            }

            Leave(vcpu);
            lock (_exclusive)
            {
                // Held as long as somebody is alone.
            }
        }
    }

    public void Leave(SoftwareVcpu vcpu) => Volatile.Write(ref vcpu.Running, 0);

    /// <summary>
    /// Waits until another vCPU has been at the top of its run loop, or parked: whatever it did with what it had looked up
    /// before is done and visible, and it sees what the caller wrote before. The caller is parked.
    /// </summary>
    public static void WaitFor(SoftwareVcpu other)
    {
        Interlocked.MemoryBarrier();

        // In this order: a request that is taken back after it was set here is followed by another pass.
        long seen = Volatile.Read(ref other.Passes);
        other.S->RequestExit();
        var spin = new SpinWait();
        while (Volatile.Read(ref other.Running) != 0 && Volatile.Read(ref other.Passes) == seen)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }
    }

    /// <summary>Returns when all other vCPUs are parked; they stay so until <see cref="EndExclusive"/>. The caller is parked in between.</summary>
    public void BeginExclusive(SoftwareVcpu self)
    {
        Leave(self);
        _exclusive.Enter();
        _closed = true;
        Interlocked.MemoryBarrier();
        foreach (SoftwareVcpu other in _vcpus)
        {
            if (other != self)
            {
                other.S->RequestExit();
            }
        }

        var spin = new SpinWait();
        foreach (SoftwareVcpu other in _vcpus)
        {
            while (other != self && Volatile.Read(ref other.Running) != 0)
            {
                spin.SpinOnce(sleep1Threshold: -1);
            }
        }
    }

    /// <summary>The caller goes on running.</summary>
    public void EndExclusive(SoftwareVcpu self)
    {
        Interlocked.Exchange(ref self.Running, 1);
        _closed = false;
        _exclusive.Exit();
    }
}
