using System.Runtime.InteropServices;

namespace Vivarium.Host;

/// <summary>How many file descriptors this process may have (getrlimit(2), RLIMIT_NOFILE).</summary>
internal static unsafe partial class LinuxDescriptors
{
    private const int OpenFiles = 7;

    /// <summary>What the rest of the process needs at most: disks, sockets, consoles, the runtime.</summary>
    private const ulong Reserved = 512;

    /// <summary>Beyond this, more descriptors make nothing faster.</summary>
    private const ulong Most = 32768;

    private const ulong Least = 64;

    /// <summary>Raises the limit as far as this user may, and says how many descriptors each of so many shares can have.</summary>
    public static int ForEach(int shares)
    {
        Limit limit;
        if (GetLimit(OpenFiles, &limit) < 0)
        {
            return (int)Least;
        }

        if (limit.Current < limit.Highest)
        {
            var raised = new Limit { Current = limit.Highest, Highest = limit.Highest };
            limit = SetLimit(OpenFiles, &raised) < 0 ? limit : raised;
        }

        ulong free = limit.Current - Math.Min(limit.Current, Reserved);
        return (int)Math.Clamp(free / (ulong)Math.Max(shares, 1), Least, Most);
    }

    [LibraryImport("libc", EntryPoint = "getrlimit")]
    private static partial int GetLimit(int resource, Limit* limit);

    [LibraryImport("libc", EntryPoint = "setrlimit")]
    private static partial int SetLimit(int resource, Limit* limit);

    /// <summary>struct rlimit.</summary>
    private struct Limit
    {
        public ulong Current;
        public ulong Highest;
    }
}
