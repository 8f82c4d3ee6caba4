using System.Runtime.InteropServices;

namespace Vivarium.Devices.Host;

/// <summary>The host kernel's random numbers: getrandom(2).</summary>
internal static unsafe partial class LinuxRandom
{
    /// <summary>Fills the buffer; returns how many bytes were filled, which is all but for errors.</summary>
    public static int Fill(Span<byte> buffer)
    {
        const int interrupted = 4;
        var done = 0;
        fixed (byte* start = buffer)
        {
            while (done < buffer.Length)
            {
                var got = GetRandom(start + done, (nuint)(buffer.Length - done), 0);
                if (got > 0)
                    done += (int)got;
                else if (Marshal.GetLastPInvokeError() != interrupted)
                    break;
            }
        }

        return done;
    }

    [LibraryImport("libc", EntryPoint = "getrandom", SetLastError = true)]
    private static partial nint GetRandom(byte* buffer, nuint length, uint flags);
}
