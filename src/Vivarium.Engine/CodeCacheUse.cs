namespace Vivarium.Engine;

/// <summary>How full an engine's translations make the memory for them.</summary>
/// <param name="Capacity">Bytes at most.</param>
/// <param name="Used">Bytes in use.</param>
/// <param name="Blocks">How many translations there are that are still valid.</param>
/// <param name="Evictions">How often room was made by throwing translations away.</param>
public readonly record struct CodeCacheUse(long Capacity, long Used, int Blocks, int Evictions);
