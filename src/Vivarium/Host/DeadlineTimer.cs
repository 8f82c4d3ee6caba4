namespace Vivarium.Host;

/// <summary>
/// Calls back on a thread of its own when a deadline passes. Moving the deadline is one system call and wakes nobody,
/// which matters because a guest does it at every tick.
/// </summary>
internal sealed unsafe class DeadlineTimer : IDisposable
{
    private readonly int _fd;
    private readonly Action _expired;
    private readonly Thread _thread;
    private volatile bool _ending;

    public DeadlineTimer(Action expired)
    {
        _expired = expired;
        _fd = LinuxTime.TimerFdCreate(LinuxTime.ClockMonotonic, LinuxTime.CloseOnExec);
        if (_fd < 0)
        {
            throw new VivariumException("the host refuses a timer descriptor; raise the limit of open files (ulimit -n)");
        }

        _thread = new Thread(Watch) { IsBackground = true, Name = "timer" };
        _thread.Start();
    }

    /// <summary>Sets the time from now until the callback, in nanoseconds.</summary>
    public void Arm(long nanoseconds) => SetTime(Math.Max(nanoseconds, 1));

    public void Disarm() => SetTime(0);

    public void Dispose()
    {
        _ending = true;
        Arm(1);
        _thread.Join();
        _ = LinuxTime.Close(_fd);
    }

    private void SetTime(long nanoseconds)
    {
        var value = new LinuxTime.TimerSpec { Value = LinuxTime.TimeSpec.FromNanoseconds(nanoseconds) };
        _ = LinuxTime.TimerFdSetTime(_fd, 0, &value, null);
    }

    private void Watch()
    {
        while (!_ending)
        {
            ulong count;
            if (LinuxTime.Read(_fd, &count, sizeof(ulong)) == sizeof(ulong) && !_ending)
            {
                _expired();
            }
        }
    }
}
