using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Mmu;

namespace Vivarium.Engine.Tests.Mmu;

/// <summary>The kinds of page that a leaf entry can describe.</summary>
public enum PageKind
{
    Legacy4K,
    Legacy4M,
    Pae4K,
    Pae2M,
    Long4K,
    Long2M,
    Long1G,
}

/// <summary>Paging structures for one page at <see cref="Linear"/>, each level in a page of its own.</summary>
internal sealed unsafe class Paging
{
    public const ulong Top = 0x20000;
    public const ulong Linear = 0x40_0000;
    public const ulong Frame = 0x80_0000;
    public const ulong P = 1, Rw = 2, Us = 4, A = 0x20, D = 0x40, Ps = 0x80, G = 0x100, Xd = 1ul << 63;

    private readonly Processor _processor;

    public Paging(Processor processor, PageKind kind)
    {
        _processor = processor;
        Kind = kind;
        NativeState* s = processor.S;
        s->Cr0 = Cr0Bits.Pe | Cr0Bits.Pg;
        s->Cr3 = Top;
        s->Cr4 = Is64 ? Cr4Bits.Pae : Cr4Bits.Pse;
        s->Efer = kind >= PageKind.Long4K ? EferBits.Lme | EferBits.Lma | EferBits.Nxe : EferBits.Nxe;
        ulong table = Top;
        foreach (int shift in Shifts())
        {
            ulong index = (Linear >> shift) & (Is64 ? 0x1FFul : 0x3FF);
            Entries.Add(table + (index * (Is64 ? 8u : 4u)));
            table += 0x1000;
        }

        for (int level = 0; level < Entries.Count - 1; level++)
        {
            Write(level, (Top + ((ulong)(level + 1) * 0x1000)) | P | (IsPdpte(level) ? 0 : Rw | Us));
        }

        // A 1 GiB page begins at 0; its frame is all of RAM.
        Write(Leaf, (kind == PageKind.Long1G ? 0 : Frame) | P | Rw | Us);
    }

    public PageKind Kind { get; }

    public bool Is64 => Kind >= PageKind.Pae4K;

    /// <summary>Addresses of the entries, top level first.</summary>
    public List<ulong> Entries { get; } = [];

    public int Leaf => Entries.Count - 1;

    public ulong LeafSize => Kind switch
    {
        PageKind.Legacy4M => 1ul << 22,
        PageKind.Pae2M or PageKind.Long2M => 1ul << 21,
        PageKind.Long1G => 1ul << 30,
        _ => 1ul << 12,
    };

    /// <summary>Where the page's first byte is expected.</summary>
    public ulong Target => Kind == PageKind.Long1G ? Linear : Frame;

    public bool IsPdpte(int level) => level == 0 && Kind is PageKind.Pae4K or PageKind.Pae2M;

    public ulong Read(int level) => Is64 ? _processor.Memory.Read<ulong>(Entries[level]) : _processor.Memory.Read<uint>(Entries[level]);

    /// <summary>Writes an entry; a large page's leaf gets PS by itself.</summary>
    public void Write(int level, ulong value)
    {
        value |= level == Leaf && LeafSize > 0x1000 ? Ps : 0;
        if (Is64)
        {
            _processor.Memory.Write(Entries[level], value);
        }
        else
        {
            _processor.Memory.Write(Entries[level], (uint)value);
        }
    }

    public bool Walk(Access access, AddressSpace space, out PageTranslation page, out uint error)
    {
        NativeState* s = _processor.S;
        return PageWalker.TryWalk(_processor.Memory, new PagingContext(s->Cr0, s->Cr3, s->Cr4, s->Efer), Linear + 0x123, access, space, out page, out error);
    }

    private int[] Shifts() => Kind switch
    {
        PageKind.Legacy4K => [22, 12],
        PageKind.Legacy4M => [22],
        PageKind.Pae4K => [30, 21, 12],
        PageKind.Pae2M => [30, 21],
        PageKind.Long4K => [39, 30, 21, 12],
        PageKind.Long2M => [39, 30, 21],
        _ => [39, 30],
    };
}
