using System.Runtime.InteropServices;
using Vivarium.Memory.Host;

namespace Vivarium.Engine.Software.Host;

/// <summary>
/// A slice of executable memory, mapped twice: once writable, once executable, never both (W^X). All slices of the
/// process stand in one reserved range, so that the fault handler tells translated code from everything else
/// with one comparison.
/// </summary>
internal sealed unsafe class CodeRegion : IDisposable
{
    /// <summary>Size of one slice: what a 32-bit displacement reaches comfortably, and some 100 times what a Linux boot translates.</summary>
    public const int Size = 128 << 20;

    private const int Slices = 64;

    /// <summary>What a host kernel maps around a fault.</summary>
    private const long PrepareStep = 64 << 10;
    private const long HugePage = (long)HugePages.Size;
    private static readonly Lock Gate = new();
    private static readonly bool[] Taken = new bool[Slices];
    private static byte* s_reservation;
    private readonly int _slice;
    private long _prepared;
    private bool _hasHugePages;

    /// <param name="hugePages">In huge pages of the host, if it makes them of shared memory.</param>
    public CodeRegion(bool hugePages)
    {
        _hasHugePages = hugePages;
        lock (Gate)
        {
            Reserve();
            _slice = Array.IndexOf(Taken, false);
            if (_slice < 0)
            {
                throw new InvalidOperationException($"more than {Slices} software engines in one process");
            }

            Taken[_slice] = true;
        }

        Executable = s_reservation + ((long)_slice * Size);

        // Not from a memfd: the host's perf looks for names of anonymous memory's code only.
        void* executable = LinuxHost.Mmap(Executable, Size, LinuxHost.ProtRead | LinuxHost.ProtExec,
            LinuxHost.MapShared | LinuxHost.MapAnonymous | LinuxHost.MapFixed | LinuxHost.MapNoReserve, -1, 0);
        Check(executable == Executable, "mmap");

        // From nothing of a shared mapping, mremap makes another of the same memory.
        Writable = ReserveAddresses(Size);
        Check(LinuxHost.Mremap(executable, 0, Size, LinuxHost.MremapMayMove | LinuxHost.MremapFixed, Writable) == Writable, "mremap");
        Check(LinuxHost.Mprotect(Writable, Size, LinuxHost.ProtRead | LinuxHost.ProtWrite) == 0, "mprotect");
    }

    /// <summary>Start of the range that holds every slice of the process.</summary>
    public static byte* ReservationStart => s_reservation;

    public static byte* ReservationEnd => s_reservation + ((long)Slices * Size);

    /// <summary>Where the code runs.</summary>
    public byte* Executable { get; }

    /// <summary>Where the same bytes are written.</summary>
    public byte* Writable { get; }

    /// <summary>Reserves the process-wide range, once.</summary>
    public static void Reserve()
    {
        lock (Gate)
        {
            if (s_reservation != null)
            {
                return;
            }

            s_reservation = ReserveAddresses((long)Slices * Size);
        }
    }

    /// <summary>
    /// There is to be memory up to an address (executable): in huge pages, if the host makes them of shared memory, or else in steps, which take
    /// less than a fault for each page, and so that the first fault of whoever executes there maps all of it. The first step comes before any
    /// huge page: it holds the thunks and what a guest needs to begin, which need not wait for one.
    /// </summary>
    public void Prepare(byte* end)
    {
        while (end - Executable > _prepared && _prepared < Size)
        {
            long hugePage = _prepared & -HugePage;
            if (_prepared > 0 && _hasHugePages && (_hasHugePages = HugePages.TryCollapse(Writable + hugePage)))
            {
                _prepared = hugePage + HugePage;
            }
            else
            {
                LinuxHost.Populate(Writable + _prepared, (nuint)PrepareStep);
                _prepared += PrepareStep;
            }
        }
    }

    /// <summary>
    /// What was written before an address (executable) is not written again soon, as far as one can tell: the process need not hold its pages by
    /// this mapping too, which would count them twice.
    /// </summary>
    public void ForgetWritable(byte* end)
    {
        long written = (end - Executable) & -(_hasHugePages ? HugePage : PrepareStep);
        if (written > 0)
        {
            _ = LinuxHost.Madvise(Writable, (nuint)written, LinuxHost.MadvDontNeed);
        }
    }

    public void Dispose()
    {
        _ = LinuxHost.Munmap(Writable, Size);
        _ = LinuxHost.Mmap(Executable, Size, LinuxHost.ProtNone,
            LinuxHost.MapPrivate | LinuxHost.MapAnonymous | LinuxHost.MapNoReserve | LinuxHost.MapFixed, -1, 0);
        lock (Gate)
        {
            Taken[_slice] = false;
        }
    }

    private static byte* ReserveAddresses(long size)
    {
        byte* start = HugePages.Reserve((nuint)size);
        Check(start != null, "mmap");
        return start;
    }

    private static void Check(bool ok, string call)
    {
        if (!ok)
        {
            throw new InvalidOperationException($"the host refuses executable memory: {call}: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }
}
