using System.Runtime.InteropServices;

namespace Vivarium.Cli.Guests;

/// <summary>A signal asked viv to end while it was making something; that has been cleaned up.</summary>
internal sealed class InterruptedException(string sentence, PosixSignal signal) : VivariumException(sentence)
{
    /// <summary>The signal's number, as a shell adds it to 128.</summary>
    public int Number { get; } = signal switch
    {
        PosixSignal.SIGHUP => 1,
        PosixSignal.SIGINT => 2,
        PosixSignal.SIGQUIT => 3,
        _ => 15,
    };
}
