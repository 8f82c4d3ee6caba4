using System.Buffers.Text;
using Microsoft.Win32.SafeHandles;

namespace Vivarium.Devices.Host;

/// <summary>
/// How long a thread has been ready to run without getting a CPU: the second figure of its <c>schedstat</c> in procfs
/// (the kernel's documentation, "Scheduler statistics").
/// </summary>
internal sealed class ThreadRunDelay : IDisposable
{
    private const int LongestText = 64;

    private readonly SafeFileHandle? _file;

    /// <summary>For the calling thread. On a host that does not tell, the figure stays 0.</summary>
    public ThreadRunDelay()
    {
        try
        {
            _file = File.OpenHandle("/proc/thread-self/schedstat", FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _file = null;
        }
    }

    /// <summary>Nanoseconds since the thread began. Costs a system call.</summary>
    public long Read()
    {
        if (_file is null)
            return 0;
        Span<byte> text = stackalloc byte[LongestText];
        try
        {
            text = text[..RandomAccess.Read(_file, text, 0)];
        }
        catch (IOException)
        {
            return 0;
        }

        var rest = text[(text.IndexOf((byte)' ') + 1)..];
        return Utf8Parser.TryParse(rest, out long nanoseconds, out _) ? nanoseconds : 0;
    }

    public void Dispose() => _file?.Dispose();
}
