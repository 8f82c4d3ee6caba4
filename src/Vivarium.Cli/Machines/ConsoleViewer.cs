using System.Text;

namespace Vivarium.Cli.Machines;

/// <summary>One reader of a console, at its own pace.</summary>
internal sealed class ConsoleViewer : IDisposable
{
    private readonly ConsoleHub _hub;
    private readonly SemaphoreSlim _news = new(1);
    private long _position;

    internal ConsoleViewer(ConsoleHub hub, long position)
    {
        _hub = hub;
        _position = position;
    }

    /// <summary>Waits for bytes and takes as many as there are; 0 at the end. Room for 64 bytes is needed at least.</summary>
    public async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellation)
    {
        while (true)
        {
            long before = _position;
            int count = _hub.Copy(ref _position, buffer.Span, out long lost, out bool ended);
            if (lost > 0)
            {
                // The word about it first; the bytes themselves are copied again the next time.
                _position = before + lost;
                return Encoding.ASCII.GetBytes($"\r\n[viv: {lost} bytes left out]\r\n", buffer.Span);
            }

            if (count > 0 || ended)
            {
                return count;
            }

            await _news.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    public void Dispose() => _hub.Remove(this);

    /// <summary>Called under the hub's lock.</summary>
    internal void Wake()
    {
        if (_news.CurrentCount == 0)
        {
            _ = _news.Release();
        }
    }
}
