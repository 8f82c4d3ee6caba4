using Vivarium.Cli.Statistics;
using Vivarium.Expect;

namespace Vivarium.Cli.Machines;

/// <summary>What the control socket may do to the machine behind it. Everything returns at once, from any thread.</summary>
internal interface IControlledMachine
{
    MachineRecord Record { get; }

    ConsoleHub Console { get; }

    /// <summary>Completes when the machine has ended and its disks are closed.</summary>
    Task<EndRecord> Ended { get; }

    void PressPowerButton();

    void Kill();

    /// <summary>
    /// The state of its memory, after the balloon was given a target, or the guest asked for its free pages. The guest is waited
    /// for a moment only.
    /// </summary>
    /// <exception cref="VivariumException">It cannot be; the message says why.</exception>
    Task<BalloonStatistics> AskBalloonAsync(ulong? target, bool collect);

    /// <summary>A picture of its screen as a PNG file.</summary>
    /// <exception cref="VivariumException">It has no screen.</exception>
    byte[] TakePicture();

    /// <summary>Its counters now.</summary>
    MachineSample Sample();

    /// <summary>Has it measure where its time goes until the answer is disposed of.</summary>
    IDisposable Measure();

    /// <summary>Types, presses keys, moves the mouse, changes media, waits for a text.</summary>
    /// <returns>What was waited for and found.</returns>
    /// <exception cref="VivariumException">It cannot be; the message says why.</exception>
    Task<FoundText?> OperateAsync(ControlOrder order, CancellationToken cancellation);

    /// <summary>Types at the console; false if there is no room now.</summary>
    bool TryType(ReadOnlySpan<byte> keys);
}
