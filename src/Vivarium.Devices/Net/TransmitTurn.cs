namespace Vivarium.Devices;

/// <summary>
/// Lets one thread at a time send what a card's rings hold; a second that wants to leaves a note, and the first looks again. What it
/// does at once is bounded, so that the vCPU whose thread it is goes on; a timer does the rest.
/// </summary>
internal sealed class TransmitTurn
{
    /// <summary>What is sent before the vCPU's thread goes on, in bytes.</summary>
    private const long SentAtOnce = 32 << 20;

    /// <summary>What a descriptor, or a frame, costs besides its bytes.</summary>
    private const long FrameCost = 512;

    private readonly MachineClock _clock;
    private readonly Func<bool> _takeOne;
    private readonly Action _finished;
    private readonly ClockTimer _continuation;
    private int _doorbells;
    private long _budget;

    /// <param name="takeOne">Takes a descriptor; false if there is none.</param>
    /// <param name="finished">Called at the end of a turn. None of the two is called with a lock held.</param>
    public TransmitTurn(MachineClock clock, Func<bool> takeOne, Action finished)
    {
        _clock = clock;
        _takeOne = takeOne;
        _finished = finished;
        _continuation = clock.Deadlines.CreateTimer(Run);
    }

    /// <summary>Sends what there is, unless another thread does.</summary>
    public void Run()
    {
        if (Interlocked.Increment(ref _doorbells) != 1)
            return;
        _budget = SentAtOnce;
        int seen;
        do
        {
            seen = Volatile.Read(ref _doorbells);
            while (_budget > 0 && _takeOne())
                _budget -= FrameCost;
        }
        while (Interlocked.CompareExchange(ref _doorbells, 0, seen) != seen);
        if (_budget <= 0)
            _continuation.Arm(_clock.Nanoseconds);
        _finished();
    }

    /// <summary>Counts a frame that <c>takeOne</c> sends.</summary>
    public void Spend(int bytes) => _budget -= bytes + FrameCost;
}
