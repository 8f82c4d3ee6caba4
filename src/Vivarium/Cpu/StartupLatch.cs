namespace Vivarium.Cpu;

/// <summary>
/// INIT and start-up messages on their way to an application processor, and whether it waits for a start-up message (SDM
/// vol. 3A, 9.4). Messages come from any thread; taking them is the processor's thread's.
/// </summary>
internal sealed class StartupLatch
{
    private const int None = -1;

    private volatile bool _init;
    private volatile bool _waits = true;
    private int _vector = None;

    /// <summary>The processor waits for a start-up message, as it does from power-up on.</summary>
    public bool Waits => _waits;

    /// <summary>There is a message to take.</summary>
    public bool HasNews => _init || (_waits && Volatile.Read(ref _vector) != None);

    /// <summary>INIT: whatever start-up message came before is void.</summary>
    public void Init()
    {
        Volatile.Write(ref _vector, None);
        _init = true;
    }

    /// <summary>SIPI: ignored unless the processor waits for one, or will because of an INIT that it has not taken yet.</summary>
    public void Startup(byte vector)
    {
        if (_init || _waits)
        {
            Volatile.Write(ref _vector, vector);
        }
    }

    /// <summary>True if there was an INIT. The processor waits from now on.</summary>
    public bool TakeInit()
    {
        if (!_init)
        {
            return false;
        }

        // In this order, so that no start-up message falls in between.
        _waits = true;
        Interlocked.Exchange(ref _init, false);
        return true;
    }

    /// <summary>True if the processor starts now, at <paramref name="vector"/> * 4096.</summary>
    public bool TakeStartup(out byte vector)
    {
        int taken = _waits && !_init ? Interlocked.Exchange(ref _vector, None) : None;
        vector = (byte)taken;
        if (taken == None)
        {
            return false;
        }

        _waits = false;
        return true;
    }
}
