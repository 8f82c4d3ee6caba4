using System.Runtime.CompilerServices;
using Vivarium.Memory;

namespace Vivarium.Devices;

/// <summary>
/// kvmclock's wall clock: the structure <c>pvclock_wall_clock</c>, the time of day when kvmclock was zero. Written once for
/// each write of its register; one register for the whole machine.
/// </summary>
internal sealed unsafe class WallClock(GuestMemory memory, KvmClock clock)
{
    private const int Size = 12;
    private const int Version = 0;
    private const int Seconds = 4;
    private const int Nanoseconds = 8;

    /// <summary>MSR_KVM_WALL_CLOCK: the address.</summary>
    public ulong Value { get; private set; }

    public void Write(ulong value)
    {
        Value = value;
        if (value == 0)
            return;
        var area = new GuestArea(memory, value, Size);
        var host = area.Host;
        if (host == null)
            return;
        var (seconds, nanoseconds) = Math.DivRem(Math.Max(clock.UnixEpoch, 0), MachineClock.NanosecondsPerSecond);
        var version = (Unsafe.ReadUnaligned<uint>(host + Version) + 1) | 1;
        Unsafe.WriteUnaligned(host + Version, version);
        Interlocked.MemoryBarrier();
        Unsafe.WriteUnaligned(host + Seconds, (uint)seconds);
        Unsafe.WriteUnaligned(host + Nanoseconds, (uint)nanoseconds);
        Interlocked.MemoryBarrier();
        Unsafe.WriteUnaligned(host + Version, version + 1);
        area.Written(host);
    }

    public void Restore(ulong value) => Value = value;
}
