namespace Vivarium.Board;

/// <summary>Whether a power cycle is to end, and why. The first reason stands.</summary>
internal sealed class CycleStop
{
    private volatile CycleEnd? _reason;

    /// <summary>Null while the cycle goes on.</summary>
    public CycleEnd? Reason => _reason;

    /// <summary>Gets the attention of everyone who has to end. Called once, on the thread that stops the cycle.</summary>
    public Action? Stopped { get; set; }

    /// <summary>Callable from any thread, also from a device in the middle of an access.</summary>
    public void Stop(CycleEnd reason)
    {
        if (Interlocked.CompareExchange(ref _reason, reason, null) is null)
        {
            Stopped?.Invoke();
        }
    }
}
