namespace Vivarium.Network;

/// <summary>What a user network dropped since its start.</summary>
/// <param name="Malformed">Frames of the guest whose lengths or offsets do not fit.</param>
/// <param name="Overrun">Frames for the guest while it had no buffers for long.</param>
public readonly record struct UserNetworkCounters(long Malformed, long Overrun);
