namespace Vivarium.Devices;

/// <summary>
/// Address line 20 of a PC/AT, which can be held low so that addresses wrap at 1 MB as on an 8086. The keyboard controller's
/// output port and system control port A set the same gate, and both show it.
/// </summary>
public sealed class A20Gate
{
    private bool _isOpen = true;

    /// <summary>Addresses are whole; a machine starts so.</summary>
    public bool IsOpen
    {
        get => Volatile.Read(ref _isOpen);
        set
        {
            if (Interlocked.Exchange(ref _isOpen, value) != value)
                Changed?.Invoke();
        }
    }

    /// <summary>
    /// Called when it changes, on the thread of the vCPU that wrote, before its instruction ends, and without any lock: it may wait
    /// for other vCPUs.
    /// </summary>
    public Action? Changed { get; set; }
}
