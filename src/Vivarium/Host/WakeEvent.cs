namespace Vivarium.Host;

/// <summary>What a thread sleeps on: woken by any other thread, or after a time given in nanoseconds.</summary>
internal sealed unsafe class WakeEvent : IDisposable
{
    private readonly int _fd;

    public WakeEvent()
    {
        _fd = LinuxTime.EventFd(0, LinuxTime.CloseOnExec | LinuxTime.NonBlocking);
        if (_fd < 0)
        {
            throw new VivariumException("the host refuses an event descriptor; raise the limit of open files (ulimit -n)");
        }
    }

    /// <summary>Wakes the waiting thread, or makes the next <see cref="Wait"/> return at once.</summary>
    public void Set()
    {
        ulong one = 1;
        _ = LinuxTime.Write(_fd, &one, sizeof(ulong));
    }

    /// <summary>Sleeps until <see cref="Set"/> or until the time has passed; a negative time is no limit. May return early.</summary>
    public void Wait(long nanoseconds)
    {
        var poll = new LinuxTime.PollFd { Fd = _fd, Events = LinuxTime.PollIn };
        LinuxTime.TimeSpec timeout = LinuxTime.TimeSpec.FromNanoseconds(Math.Max(nanoseconds, 0));
        if (LinuxTime.PPoll(&poll, 1, nanoseconds < 0 ? null : &timeout, null) > 0)
        {
            ulong count;
            _ = LinuxTime.Read(_fd, &count, sizeof(ulong));
        }
    }

    public void Dispose() => _ = LinuxTime.Close(_fd);
}
