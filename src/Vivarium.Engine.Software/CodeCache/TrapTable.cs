using Iced.Intel;

namespace Vivarium.Engine.Software.CodeCache;

/// <summary>
/// The trapped instructions of all translations, by the index that their exits carry. One thread at a time adds; any may
/// read an index that a published translation holds, without a lock: what was added never moves within an array, and a
/// larger array takes the place of the old one as a whole.
/// </summary>
internal sealed class TrapTable
{
    private const int InitialCapacity = 1024;

    private Instruction[] _entries = new Instruction[InitialCapacity];
    private int _count;

    public ref readonly Instruction this[int index] => ref Volatile.Read(ref _entries)[index];

    /// <summary>Returns the instruction's index.</summary>
    public int Add(in Instruction instruction)
    {
        Instruction[] entries = _entries;
        if (_count == entries.Length)
        {
            Array.Resize(ref entries, entries.Length * 2);
            entries[_count] = instruction;
            Volatile.Write(ref _entries, entries);
        }
        else
        {
            entries[_count] = instruction;
        }

        return _count++;
    }

    /// <summary>Not while any translation can be run.</summary>
    public void Clear() => _count = 0;
}
