namespace Vivarium.Engine.Tracing;

/// <summary>One thing that happened on a vCPU.</summary>
/// <param name="Tsc">When: the host's time-stamp counter.</param>
/// <param name="Rip">The guest's instruction pointer.</param>
/// <param name="Address">What it was done to.</param>
/// <param name="Value">What was read or written.</param>
/// <param name="Event">What it was.</param>
/// <param name="Detail">More of that.</param>
public readonly record struct TraceRecord(ulong Tsc, ulong Rip, ulong Address, ulong Value, TraceEvent Event, byte Detail);
