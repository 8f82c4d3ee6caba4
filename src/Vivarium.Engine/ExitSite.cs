namespace Vivarium.Engine;

/// <summary>A place in the guest's code, and how often an exit was counted there.</summary>
/// <param name="Rip">The instruction pointer.</param>
/// <param name="Count">At least so often.</param>
public readonly record struct ExitSite(ulong Rip, long Count);
