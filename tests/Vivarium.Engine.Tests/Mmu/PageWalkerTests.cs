using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Mmu;

namespace Vivarium.Engine.Tests.Mmu;

public sealed unsafe class PageWalkerTests : IDisposable
{
    private readonly Processor _processor = new();

    public static TheoryData<PageKind> Kinds => [.. Enum.GetValues<PageKind>()];

    public void Dispose() => _processor.Dispose();

    [Theory, MemberData(nameof(Kinds))]
    public void Every_combination_of_rights_allows_what_the_manual_says(PageKind kind)
    {
        var paging = new Paging(_processor, kind);
        ulong cr4 = _processor.S->Cr4;
        int cases = 0;
        for (int bits = 0; bits < 64; bits++)
        {
            bool writable = (bits & 1) != 0, user = (bits & 2) != 0, noExecute = (bits & 4) != 0 && paging.Is64;
            bool wp = (bits & 8) != 0, smep = (bits & 16) != 0, smap = (bits & 32) != 0;
            _processor.S->Cr0 = Cr0Bits.Pe | Cr0Bits.Pg | (wp ? Cr0Bits.Wp : 0);
            _processor.S->Cr4 = cr4 | (smep ? Cr4Bits.Smep : 0) | (smap ? Cr4Bits.Smap : 0);
            foreach (Access access in (Access[])[Access.Read, Access.Write, Access.Execute])
            {
                foreach (AddressSpace space in Enum.GetValues<AddressSpace>())
                {
                    paging.Write(paging.Leaf, paging.Target & ~(paging.LeafSize - 1)
                        | Paging.P | (writable ? Paging.Rw : 0) | (user ? Paging.Us : 0) | (noExecute ? Paging.Xd : 0));
                    bool byUser = space == AddressSpace.User;
                    bool expected = access switch
                    {
                        Access.Execute => !noExecute && (byUser ? user : !(user && smep)),
                        _ when byUser => user && (access == Access.Read || writable),
                        _ when user && smap && space == AddressSpace.Supervisor => false,
                        Access.Read => true,
                        _ => writable || !wp,
                    };
                    bool done = paging.Walk(access, space, out PageTranslation page, out uint error);
                    Assert.Equal(expected, done);
                    if (done)
                    {
                        Assert.Equal(paging.Target + 0x123, page.Gpa);
                        Assert.Equal(paging.LeafSize, page.PageSize);
                        Assert.Equal((writable, user, noExecute, access == Access.Write), (page.Writable, page.User, page.NoExecute, page.Dirty));
                    }
                    else
                    {
                        bool fetchBit = access == Access.Execute && (paging.Is64 || smep);
                        Assert.Equal(1u | (access == Access.Write ? 2u : 0) | (byUser ? 4u : 0) | (fetchBit ? 16u : 0), error);
                        Assert.Equal(0ul, paging.Read(paging.Leaf) & (Paging.A | Paging.D));
                    }

                    cases++;
                }
            }
        }

        Assert.Equal(64 * 9, cases);
    }

    [Theory, MemberData(nameof(Kinds))]
    public void A_missing_entry_at_any_level_is_a_fault_of_a_page_that_is_not_present(PageKind kind)
    {
        var paging = new Paging(_processor, kind);
        for (int level = 0; level <= paging.Leaf; level++)
        {
            ulong whole = paging.Read(level);
            paging.Write(level, whole & ~Paging.P);
            Assert.False(paging.Walk(Access.Write, AddressSpace.User, out _, out uint error));
            Assert.Equal(PageFaultCode.Write | PageFaultCode.User, error);
            paging.Write(level, whole);
        }

        Assert.True(paging.Walk(Access.Write, AddressSpace.User, out _, out _));
    }

    [Theory, MemberData(nameof(Kinds))]
    public void Rights_are_those_of_all_levels_together(PageKind kind)
    {
        var paging = new Paging(_processor, kind);
        for (int level = 0; level < paging.Leaf; level++)
        {
            if (paging.IsPdpte(level))
            {
                continue;
            }

            ulong whole = paging.Read(level);
            paging.Write(level, whole & ~Paging.Us);
            Assert.False(paging.Walk(Access.Read, AddressSpace.User, out _, out uint error));
            Assert.Equal(PageFaultCode.Present | PageFaultCode.User, error);
            paging.Write(level, whole & ~Paging.Rw);
            Assert.False(paging.Walk(Access.Write, AddressSpace.User, out _, out error));
            Assert.Equal(PageFaultCode.Present | PageFaultCode.User | PageFaultCode.Write, error);
            if (paging.Is64)
            {
                paging.Write(level, whole | Paging.Xd);
                Assert.False(paging.Walk(Access.Execute, AddressSpace.User, out _, out error));
                Assert.Equal(PageFaultCode.Present | PageFaultCode.User | PageFaultCode.InstructionFetch, error);
            }

            paging.Write(level, whole);
        }
    }

    [Theory, MemberData(nameof(Kinds))]
    public void Reads_set_accessed_at_every_level_and_writes_dirty_at_the_leaf(PageKind kind)
    {
        var paging = new Paging(_processor, kind);
        Assert.True(paging.Walk(Access.Read, AddressSpace.User, out PageTranslation page, out _));
        Assert.False(page.Dirty);
        for (int level = 0; level <= paging.Leaf; level++)
        {
            Assert.Equal(paging.IsPdpte(level) ? 0 : Paging.A, paging.Read(level) & (Paging.A | Paging.D));
        }

        Assert.True(paging.Walk(Access.Write, AddressSpace.User, out page, out _));
        Assert.True(page.Dirty);
        for (int level = 0; level <= paging.Leaf; level++)
        {
            ulong expected = paging.IsPdpte(level) ? 0 : level == paging.Leaf ? Paging.A | Paging.D : Paging.A;
            Assert.Equal(expected, paging.Read(level) & (Paging.A | Paging.D));
        }
    }

    [Theory]
    [InlineData(PageKind.Legacy4M, 1ul << 21)]
    [InlineData(PageKind.Pae4K, 1ul << 40)]
    [InlineData(PageKind.Pae4K, 1ul << 52)]
    [InlineData(PageKind.Pae4K, 1ul << 62)]
    [InlineData(PageKind.Pae2M, 1ul << 13)]
    [InlineData(PageKind.Pae2M, 1ul << 20)]
    [InlineData(PageKind.Long4K, 1ul << 40)]
    [InlineData(PageKind.Long4K, 1ul << 51)]
    [InlineData(PageKind.Long2M, 1ul << 13)]
    [InlineData(PageKind.Long1G, 1ul << 13)]
    [InlineData(PageKind.Long1G, 1ul << 29)]
    public void A_reserved_bit_faults_also_where_rights_would(PageKind kind, ulong reserved)
    {
        var paging = new Paging(_processor, kind);
        paging.Write(paging.Leaf, paging.Read(paging.Leaf) | reserved);
        Assert.False(paging.Walk(Access.Read, AddressSpace.User, out _, out uint error));
        Assert.Equal(PageFaultCode.Present | PageFaultCode.Reserved | PageFaultCode.User, error);
    }

    [Theory]
    [InlineData(PageKind.Long4K, 1ul << 52)]
    [InlineData(PageKind.Long4K, 1ul << 62)]
    [InlineData(PageKind.Long2M, 1ul << 12)]
    [InlineData(PageKind.Legacy4M, 1ul << 12)]
    public void An_ignored_bit_does_not_fault(PageKind kind, ulong ignored)
    {
        var paging = new Paging(_processor, kind);
        paging.Write(paging.Leaf, paging.Read(paging.Leaf) | ignored);
        Assert.True(paging.Walk(Access.Read, AddressSpace.User, out PageTranslation page, out _));
        Assert.Equal(paging.Target + 0x123, page.Gpa);
    }

    [Theory]
    [InlineData(PageKind.Pae4K)]
    [InlineData(PageKind.Long4K)]
    public void Execute_disable_is_reserved_while_NXE_is_off(PageKind kind)
    {
        var paging = new Paging(_processor, kind);
        _processor.S->Efer &= ~EferBits.Nxe;
        paging.Write(paging.Leaf, paging.Read(paging.Leaf) | Paging.Xd);
        Assert.False(paging.Walk(Access.Execute, AddressSpace.User, out _, out uint error));
        Assert.Equal(PageFaultCode.Present | PageFaultCode.Reserved | PageFaultCode.User, error);
    }

    [Fact]
    public void PSE36_takes_high_address_bits_from_the_directory_entry()
    {
        var paging = new Paging(_processor, PageKind.Legacy4M);
        paging.Write(0, 0x00C0_0000 | (0x5Aul << 13) | Paging.P);
        Assert.True(paging.Walk(Access.Read, AddressSpace.Supervisor, out PageTranslation page, out _));
        Assert.Equal(0x5A_00C0_0123ul, page.Gpa);
    }

    [Fact]
    public void PS_is_ignored_while_CR4_PSE_is_off()
    {
        var paging = new Paging(_processor, PageKind.Legacy4K);
        _processor.S->Cr4 = 0;
        paging.Write(0, paging.Read(0) | Paging.Ps);
        Assert.True(paging.Walk(Access.Read, AddressSpace.User, out PageTranslation page, out _));
        Assert.Equal(0x1000ul, page.PageSize);
    }

    [Theory, MemberData(nameof(Kinds))]
    public void Tables_outside_of_memory_are_not_present(PageKind kind)
    {
        var paging = new Paging(_processor, kind);
        _processor.S->Cr3 = Processor.MmioGpa;
        Assert.False(paging.Walk(Access.Read, AddressSpace.Supervisor, out _, out uint error));
        Assert.Equal(0u, error);
    }

    [Fact]
    public void A_page_is_global_only_with_CR4_PGE()
    {
        var paging = new Paging(_processor, PageKind.Long4K);
        paging.Write(paging.Leaf, paging.Read(paging.Leaf) | Paging.G);
        Assert.True(paging.Walk(Access.Read, AddressSpace.User, out PageTranslation page, out _));
        Assert.False(page.Global);
        _processor.S->Cr4 |= Cr4Bits.Pge;
        Assert.True(paging.Walk(Access.Read, AddressSpace.User, out page, out _));
        Assert.True(page.Global);
    }

    [Fact]
    public void Without_paging_a_linear_address_is_physical()
    {
        Assert.True(PageWalker.TryWalk(_processor.Memory, new PagingContext(Cr0Bits.Pe, 0, 0, 0), 0x1234_5678, Access.Write, AddressSpace.User, out PageTranslation page, out _));
        Assert.Equal(0x1234_5678ul, page.Gpa);
    }
}
