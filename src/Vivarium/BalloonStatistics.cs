using Vivarium.Devices;

namespace Vivarium;

/// <summary>A machine's memory, as the host and the guest see it. All figures in bytes, but for the guest's counts.</summary>
public sealed record BalloonStatistics
{
    /// <summary>What the machine has: <see cref="MachineSpec.Memory"/>.</summary>
    public required ulong Memory { get; init; }

    /// <summary>What the host holds of it at the moment.</summary>
    public required ulong Host { get; init; }

    /// <summary>How large the balloon is to be: <see cref="VirtualMachine.SetBalloonTarget"/>.</summary>
    public required ulong Target { get; init; }

    /// <summary>How large the guest says it is.</summary>
    public required ulong Actual { get; init; }

    /// <summary>A driver in the guest uses the balloon; without one nothing of what follows changes.</summary>
    public required bool HasDriver { get; init; }

    /// <summary>Given back to the host through the balloon since power-on or the last reset.</summary>
    public required ulong Inflated { get; init; }

    /// <summary>Given back to the host because the guest reported that it was free, since power-on or the last reset.</summary>
    public required ulong Reported { get; init; }

    /// <summary>Given back to the host by <see cref="VirtualMachine.CollectFreePagesAsync"/>, since power-on or the last reset.</summary>
    public required ulong Hinted { get; init; }

    /// <summary>What the guest says; null if it has said nothing.</summary>
    public BalloonGuestStatistics? Guest { get; init; }
}
