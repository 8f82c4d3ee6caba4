using System.Runtime.CompilerServices;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A vCPU's steal time: the structure <c>kvm_steal_time</c> in guest RAM. It tells how long the vCPU's thread was ready to
/// run and did not get a host CPU, and whether the vCPU is asleep, in which case others need not wait for its TLB flush:
/// they ask for one by a flag.
/// </summary>
internal sealed unsafe class StealTime(GuestMemory memory)
{
    private const int Size = 64;
    private const int Steal = 0;
    private const int Version = 8;
    private const int Preempted = 16;

    /// <summary>Bits 5:1 of the register: the structure is aligned to 64 bytes.</summary>
    private const ulong Reserved = 0x3E;

    private const byte IsPreempted = 1 << 0;
    private const byte FlushTlb = 1 << 1;

    private long _lastDelay;

    /// <summary>MSR_KVM_STEAL_TIME: the address and <see cref="KvmMsr.Enabled"/>.</summary>
    public ulong Value { get; private set; }

    public bool IsEnabled => (Value & KvmMsr.Enabled) != 0;

    private GuestArea Area => new(memory, Value & ~KvmMsr.Enabled, Size);

    /// <param name="runDelay">What the thread has waited for a host CPU until now, in nanoseconds.</param>
    /// <returns>False: #GP.</returns>
    public bool Write(ulong value, long runDelay)
    {
        if ((value & Reserved) != 0)
            return false;
        Value = value;
        _lastDelay = runDelay;
        return true;
    }

    /// <summary>Adds what the thread has waited since the last call.</summary>
    public void Account(long runDelay)
    {
        var stolen = runDelay - _lastDelay;
        if (!IsEnabled || stolen <= 0)
            return;
        _lastDelay = runDelay;
        var host = Area.Host;
        if (host == null)
            return;
        var version = (Unsafe.ReadUnaligned<uint>(host + Version) + 1) | 1;
        Unsafe.WriteUnaligned(host + Version, version);
        Interlocked.MemoryBarrier();
        Unsafe.WriteUnaligned(host + Steal, Unsafe.ReadUnaligned<long>(host + Steal) + stolen);
        Interlocked.MemoryBarrier();
        Unsafe.WriteUnaligned(host + Version, version + 1);
        Area.Written(host);
    }

    /// <summary>The vCPU goes to sleep: until <see cref="EndSleep"/> it runs no guest code.</summary>
    public void BeginSleep()
    {
        if (!IsEnabled)
            return;
        var host = Area.Host;
        if (host == null)
            return;
        Volatile.Write(ref host[Preempted], IsPreempted);
        Area.Written(host);
    }

    /// <summary>The vCPU is about to run again. True: others asked that it forget its cached translations first.</summary>
    public bool EndSleep()
    {
        if (!IsEnabled)
            return false;
        var host = Area.Host;
        if (host == null)
            return false;
        var flags = Interlocked.Exchange(ref host[Preempted], 0);
        Area.Written(host);
        return (flags & FlushTlb) != 0;
    }

    public void Restore(ulong value, long runDelay)
    {
        Value = value & ~Reserved;
        _lastDelay = runDelay;
    }
}
