namespace Vivarium.Debugging;

/// <summary>
/// Where processors' threads wait, outside of guest code, while a debugger has the machine stopped. Each asks before it enters
/// guest code.
/// </summary>
internal sealed class ProcessorHold
{
    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim[] _go;
    private readonly bool[] _wanted;
    private readonly bool[] _out;
    private readonly SemaphoreSlim _parked = new(0);
    private bool _closed;

    /// <param name="processors">How many there are.</param>
    /// <param name="held">They are to wait from the start.</param>
    public ProcessorHold(int processors, bool held)
    {
        _wanted = new bool[processors];
        _out = new bool[processors];
        _go = [.. Enumerable.Range(0, processors).Select(_ => new ManualResetEventSlim(!held))];
        Array.Fill(_wanted, held);

        // Their threads have not begun.
        Array.Fill(_out, true);
    }

    /// <summary>The processor's thread is to wait: it must not enter guest code.</summary>
    public bool IsWanted(int processor) => Volatile.Read(ref _wanted[processor]);

    /// <summary>On the processor's thread, outside of guest code: waits as long as it is to.</summary>
    public void Wait(int processor)
    {
        Leave(processor);
        _go[processor].Wait();
    }

    /// <summary>On the processor's thread: false if it has to <see cref="Wait"/> instead of entering guest code.</summary>
    public bool TryEnter(int processor)
    {
        lock (_lock)
        {
            if (_wanted[processor])
            {
                return false;
            }

            _out[processor] = false;
            return true;
        }
    }

    /// <summary>On the processor's thread: it is out of guest code, and stays out if it is wanted or at its end.</summary>
    public void Leave(int processor)
    {
        lock (_lock)
        {
            if (!_out[processor])
            {
                _out[processor] = true;
                _ = _parked.Release();
            }
        }
    }

    /// <summary>Makes one wait before it enters guest code again.</summary>
    public void Want(int processor)
    {
        lock (_lock)
        {
            if (!_closed)
            {
                _wanted[processor] = true;
                _go[processor].Reset();
            }
        }
    }

    /// <summary>Returns when all are out of guest code.</summary>
    public void WaitForAll()
    {
        while (true)
        {
            lock (_lock)
            {
                if (Array.TrueForAll(_out, isOut => isOut))
                {
                    return;
                }
            }

            _parked.Wait();
        }
    }

    /// <summary>The machine ends: nobody has to wait, now or later.</summary>
    public void Close()
    {
        lock (_lock)
        {
            _closed = true;
            for (int i = 0; i < _go.Length; i++)
            {
                Release(i);
            }
        }
    }

    public void Release(int processor)
    {
        lock (_lock)
        {
            _wanted[processor] = false;
            _go[processor].Set();
        }
    }
}
