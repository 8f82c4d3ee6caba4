using Vivarium.Devices;

namespace Vivarium.Serial;

/// <summary>
/// Carries bytes from a device to a stream on a thread of its own, so that the vCPU waits for the host only when the
/// reader is far behind. A stream that fails is not written to again; the guest runs on.
/// </summary>
internal sealed class GuestOutput(string name) : ISerialBackend
{
    private const int QueueSize = 64 * 1024;
    private const int WriteSize = 4096;

    private readonly ByteQueue _queue = new(QueueSize);
    private readonly Lock _starting = new();
    private Stream? _target;
    private Thread? _writer;

    /// <summary>Receives the bytes from now on; null discards them. Set before the machine starts.</summary>
    public Stream? Target
    {
        get => _target;
        set => _target = value;
    }

    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (_target is not null)
        {
            if (_writer is null)
            {
                StartWriter();
            }

            _ = _queue.Write(bytes);
        }
    }

    /// <summary>Takes no more bytes; a writer that waits for room goes on.</summary>
    public void Release() => _queue.Close();

    /// <summary>Takes no more bytes. Waits until the stream has had all of them, but not longer than <paramref name="patience"/>.</summary>
    public void Close(TimeSpan patience)
    {
        _queue.Close();
        _ = _writer?.Join(patience);
    }

    /// <summary>With the first bytes, if not before: many a port never gets any, and a machine's start waits for no thread that nobody needs yet.</summary>
    public void StartWriter()
    {
        lock (_starting)
        {
            if (_writer is null && _target is not null)
            {
                var writer = new Thread(Pump) { IsBackground = true, Name = name };
                writer.Start();
                _writer = writer;
            }
        }
    }

    private void Pump()
    {
        byte[] buffer = new byte[WriteSize];
        while (_queue.Read(buffer) is > 0 and int length)
        {
            try
            {
                _target?.Write(buffer, 0, length);
                _target?.Flush();
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException or UnauthorizedAccessException)
            {
                _target = null;
            }
        }
    }
}
