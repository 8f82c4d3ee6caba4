using Vivarium.Memory;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>The paging modes (SDM vol. 3A, 4.1.1).</summary>
public enum PagingMode
{
    None,
    Bits32,
    Pae,
    FourLevel,
}

/// <summary>Paging structures in guest memory, grown as they are needed, for any paging mode.</summary>
internal sealed class PageTables
{
    public const ulong P = 1, Rw = 2, Us = 4, A = 0x20, D = 0x40, Ps = 0x80, G = 0x100, Xd = 1ul << 63;

    private readonly GuestMemory _memory;
    private readonly PagingMode _mode;
    private ulong _next;

    public PageTables(GuestMemory memory, PagingMode mode, ulong start)
    {
        _memory = memory;
        _mode = mode;
        Root = start;
        _next = start + 0x1000;
    }

    /// <summary>What CR3 is to hold.</summary>
    public ulong Root { get; }

    private int EntrySize => _mode == PagingMode.Bits32 ? 4 : 8;

    /// <summary>Maps one 4 KiB page.</summary>
    public void Map(ulong linear, ulong physical, ulong flags = P | Rw | Us) => Write(Entry(linear, 12), physical | flags);

    /// <summary>Maps a page of 4 MiB, 2 MiB or 1 GiB.</summary>
    public void MapLarge(ulong linear, ulong physical, int shift, ulong flags = P | Rw | Us) => Write(Entry(linear, shift), physical | flags | Ps);

    public void Unmap(ulong linear) => Write(Entry(linear, 12), 0);

    /// <summary>The leaf entry of a 4 KiB page.</summary>
    public ulong this[ulong linear]
    {
        get => Read(Entry(linear, 12));
        set => Write(Entry(linear, 12), value);
    }

    /// <summary>Guest-physical address of the entry whose pages have 2^<paramref name="leafShift"/> bytes.</summary>
    public ulong Entry(ulong linear, int leafShift)
    {
        ulong table = Root;
        foreach (int shift in Shifts())
        {
            ulong index = (linear >> shift) & (EntrySize == 4 ? 0x3FFul : shift == 30 && _mode == PagingMode.Pae ? 3ul : 0x1FF);
            ulong entry = table + (index * (ulong)EntrySize);
            if (shift == leafShift)
            {
                return entry;
            }

            ulong value = Read(entry);
            if ((value & P) == 0)
            {
                bool pdpte = shift == 30 && _mode == PagingMode.Pae;
                value = _next | P | (pdpte ? 0 : Rw | Us);
                _next += 0x1000;
                Write(entry, value);
            }

            table = value & 0x000F_FFFF_FFFF_F000;
        }

        throw new ArgumentOutOfRangeException(nameof(leafShift));
    }

    public ulong Read(ulong entry) => EntrySize == 4 ? _memory.Read<uint>(entry) : _memory.Read<ulong>(entry);

    public void Write(ulong entry, ulong value)
    {
        if (EntrySize == 4)
        {
            _memory.Write(entry, (uint)value);
        }
        else
        {
            _memory.Write(entry, value);
        }
    }

    private int[] Shifts() => _mode switch
    {
        PagingMode.Bits32 => [22, 12],
        PagingMode.Pae => [30, 21, 12],
        _ => [39, 30, 21, 12],
    };
}
