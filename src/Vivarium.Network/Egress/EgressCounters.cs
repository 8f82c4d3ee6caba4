namespace Vivarium.Network;

/// <summary>What an egress filter has decided so far.</summary>
/// <param name="Allowed">Frames let out.</param>
/// <param name="Refused">Frames not let out, by reason; reasons that did not occur are missing.</param>
/// <param name="LastRefused">The last destination that was refused, for a user to read: an address with its port, or a name; null if none.</param>
public sealed record EgressCounters(long Allowed, IReadOnlyDictionary<EgressRefusal, long> Refused, string? LastRefused);
