namespace Vivarium.Cli;

/// <summary>What <c>viv</c> tells its caller. A signal that ends it gives 128 plus its number; debug-exit gives (v &lt;&lt; 1) | 1.</summary>
internal static class ExitStatus
{
    public const int Success = 0;

    /// <summary>A failure of the monitor or its host.</summary>
    public const int Failure = 1;

    /// <summary>Wrong usage or input.</summary>
    public const int Usage = 2;

    /// <summary>The guest crashed.</summary>
    public const int GuestCrashed = 3;

    public const int Timeout = 4;

    /// <summary>Plus the number of the signal that ended it.</summary>
    public const int Signalled = 128;
}
