using System.Runtime.CompilerServices;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// A vCPU's kvmclock: the structure <c>pvclock_vcpu_time_info</c> in guest RAM, from which the guest computes the time out
/// of its TSC. Written when the guest names its address, and when the relation of TSC and time has changed.
/// </summary>
/// <remarks>As in KVM, an address that is not RAM is no error: the register takes it, and nothing is written.</remarks>
internal sealed unsafe class SystemTime(GuestMemory memory, KvmClock clock)
{
    private const int Size = 32;
    private const int Version = 0;
    private const int TscTimestamp = 8;
    private const int Time = 16;
    private const int Multiplier = 24;
    private const int Shift = 28;
    private const int Flags = 29;

    /// <summary>Time is the same on all vCPUs at every moment: the guest need not compare.</summary>
    private const byte TscStable = 1 << 0;

    /// <summary>The guest was stopped by its host: its watchdogs shall not bark. The guest takes the flag back.</summary>
    private const byte GuestStopped = 1 << 1;

    private KvmClock.Anchor? _written;

    /// <summary>MSR_KVM_SYSTEM_TIME: the address and <see cref="KvmMsr.Enabled"/>.</summary>
    public ulong Value { get; private set; }

    public void Write(ulong value, ulong tscOffset)
    {
        Value = value;
        Publish(tscOffset, stopped: false);
    }

    /// <summary>Time has begun to run anew since the guest was last told.</summary>
    public bool IsStale => (Value & KvmMsr.Enabled) != 0 && _written != clock.Current;

    /// <summary>Tells the guest what its TSC means now.</summary>
    public void Publish(ulong tscOffset, bool stopped)
    {
        var anchor = clock.Current;
        _written = anchor;
        if ((Value & KvmMsr.Enabled) == 0)
            return;
        var area = new GuestArea(memory, Value & ~KvmMsr.Enabled, Size);
        var host = area.Host;
        if (host == null)
            return;

        // An odd version says "being written"; readers on other vCPUs try again.
        var version = (Unsafe.ReadUnaligned<uint>(host + Version) + 1) | 1;
        Unsafe.WriteUnaligned(host + Version, version);
        Interlocked.MemoryBarrier();
        Unsafe.WriteUnaligned(host + TscTimestamp, anchor.HostTsc + tscOffset);
        Unsafe.WriteUnaligned(host + Time, anchor.Nanoseconds);
        Unsafe.WriteUnaligned(host + Multiplier, clock.Multiplier);
        host[Shift] = (byte)(sbyte)clock.Shift;
        host[Flags] = (byte)(TscStable | (stopped ? GuestStopped : host[Flags] & GuestStopped));
        Interlocked.MemoryBarrier();
        Unsafe.WriteUnaligned(host + Version, version + 1);
        area.Written(host);
    }

    /// <summary>Takes a saved value; the structure is in the saved memory, and is brought up to date when time runs.</summary>
    public void Restore(ulong value)
    {
        Value = value;
        _written = null;
    }
}
