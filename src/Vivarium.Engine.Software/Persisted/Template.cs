using Vivarium.Engine.Software.CodeCache;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>A translation that can be copied.</summary>
/// <param name="Record">What is known of it; <see cref="RecordFlags.Movable"/>.</param>
/// <param name="Code">Its code; jumps may be linked, and fields that depend on the place may hold anything.</param>
internal readonly unsafe struct Template(BlockRecord* record, byte* code)
{
    public BlockRecord* Record => record;

    public byte* Code => code;

    public bool Exists => record != null;
}
