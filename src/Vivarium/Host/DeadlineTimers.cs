namespace Vivarium.Host;

/// <summary>
/// Timers that call back on one thread of their own when their deadlines pass. Moving a deadline is one system call and wakes
/// nobody, which matters because a guest does it at every tick.
/// </summary>
internal sealed unsafe class DeadlineTimers : IDisposable
{
    private readonly int[] _fds;
    private readonly Action<int> _expired;
    private readonly Lock _starting = new();
    private Thread? _thread;
    private volatile bool _ending;

    /// <param name="count">How many timers; they are numbered from 0.</param>
    /// <param name="expired">Told the number of a timer whose time has come.</param>
    public DeadlineTimers(int count, Action<int> expired)
    {
        _expired = expired;
        _fds = new int[count];
        for (int i = 0; i < count; i++)
        {
            _fds[i] = LinuxTime.TimerFdCreate(LinuxTime.ClockMonotonic, LinuxTime.CloseOnExec | LinuxTime.NonBlocking);
            if (_fds[i] < 0)
            {
                Close(i);
                throw new VivariumException("the host refuses a timer descriptor; raise the limit of open files (ulimit -n)");
            }
        }
    }

    /// <summary>Sets the time from now until the callback, in nanoseconds.</summary>
    public void Arm(int timer, long nanoseconds)
    {
        if (_thread is null)
        {
            StartWatching();
        }

        SetTime(timer, Math.Max(nanoseconds, 1));
    }

    public void Disarm(int timer) => SetTime(timer, 0);

    public void Dispose()
    {
        _ending = true;
        if (_thread is not null)
        {
            Arm(0, 1);
            _thread.Join();
        }

        Close(_fds.Length);
    }

    private void StartWatching()
    {
        lock (_starting)
        {
            if (_thread is null)
            {
                var thread = new Thread(Watch) { IsBackground = true, Name = "timer" };
                thread.Start();
                _thread = thread;
            }
        }
    }

    private void SetTime(int timer, long nanoseconds)
    {
        var value = new LinuxTime.TimerSpec { Value = LinuxTime.TimeSpec.FromNanoseconds(nanoseconds) };
        _ = LinuxTime.TimerFdSetTime(_fds[timer], 0, &value, null);
    }

    private void Watch()
    {
        LinuxTime.PollFd[] polled = [.. _fds.Select(fd => new LinuxTime.PollFd { Fd = fd, Events = LinuxTime.PollIn })];
        while (!_ending)
        {
            fixed (LinuxTime.PollFd* fds = polled)
            {
                _ = LinuxTime.PPoll(fds, (nuint)polled.Length, null, null);
            }

            for (int i = 0; i < polled.Length && !_ending; i++)
            {
                // Moved since the poll, there is nothing to read.
                ulong count;
                if ((polled[i].Revents & LinuxTime.PollIn) != 0 && LinuxTime.Read(_fds[i], &count, sizeof(ulong)) == sizeof(ulong))
                {
                    _expired(i);
                }
            }
        }
    }

    private void Close(int count)
    {
        for (int i = 0; i < count; i++)
        {
            _ = LinuxTime.Close(_fds[i]);
        }
    }
}
