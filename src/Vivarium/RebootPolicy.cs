namespace Vivarium;

/// <summary>What happens when the guest resets its machine.</summary>
public enum RebootPolicy
{
    /// <summary>The machine starts again from its boot files.</summary>
    Restart,

    /// <summary>The machine ends with <see cref="ExitKind.Rebooted"/>.</summary>
    End,
}
