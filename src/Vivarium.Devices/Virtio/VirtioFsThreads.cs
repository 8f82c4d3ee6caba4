namespace Vivarium.Devices;

/// <summary>
/// The threads of a file system device for requests that may take their time. They are its own and few, so that a share on
/// storage that hangs takes nothing along; they come when there is work and go when there is none for long.
/// </summary>
internal sealed class VirtioFsThreads(Action<Virtqueue, VirtqueueChain> serve)
{
    private const int Most = 4;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    // A monitor, because threads wait on it.
    private readonly object _lock = new();
    private readonly Queue<(Virtqueue Queue, VirtqueueChain Chain)> _work = new();
    private int _threads;
    private int _idle;

    public void Add(Virtqueue queue, VirtqueueChain chain)
    {
        lock (_lock)
        {
            _work.Enqueue((queue, chain));
            if (_work.Count <= _idle || _threads == Most)
            {
                Monitor.Pulse(_lock);
                return;
            }

            _threads++;
        }

        new Thread(Run) { IsBackground = true, Name = "virtio-fs" }.Start();
    }

    private void Run()
    {
        while (TryTake(out var work))
            serve(work.Queue, work.Chain);
    }

    private bool TryTake(out (Virtqueue Queue, VirtqueueChain Chain) work)
    {
        lock (_lock)
        {
            while (!_work.TryDequeue(out work))
            {
                _idle++;
                var pulsed = Monitor.Wait(_lock, s_patience);
                _idle--;
                if (!pulsed && _work.Count == 0)
                {
                    _threads--;
                    return false;
                }
            }

            return true;
        }
    }
}
