using Vivarium.Engine.Software.CodeCache;

namespace Vivarium.Engine.Software.Persisted;

/// <summary>A translation that can be copied.</summary>
/// <param name="record">What is known of it; <see cref="RecordFlags.Movable"/>.</param>
/// <param name="code">Its code; jumps may be linked, and fields that depend on the place may hold anything.</param>
/// <param name="inFile">Record and code stand in a file, whose pages a machine is not to hold.</param>
/// <param name="guest">The guest's bytes that it is to serve, where they differ from the record's; a copy that holds until the next lookup.</param>
internal readonly unsafe struct Template(BlockRecord* record, byte* code, bool inFile = false, byte* guest = null)
{
    public BlockRecord* Record => record;

    public byte* Code => code;

    public bool InFile => inFile;

    public byte* Guest => guest != null ? guest : BlockRecord.GuestBytesOf(record);

    public bool Exists => record != null;
}
