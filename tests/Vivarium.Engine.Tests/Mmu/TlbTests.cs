using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Host;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Tests.Mmu;

public sealed unsafe class TlbTests : IDisposable
{
    private const ulong Linear = Paging.Linear + 0x10;
    private const ulong Other = Paging.Frame + 0x10_0000;

    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private SoftwareVcpu Cpu => _processor.Cpu;

    /// <summary>Maps <see cref="Linear"/>, reads it once, and then points its leaf to another frame behind the TLB's back.</summary>
    private Paging CacheThenMove(PageKind kind, ulong bits = 0)
    {
        _processor.Long();
        var paging = new Paging(_processor, kind);
        _processor.S->Cr4 |= Cr4Bits.Pge;
        ulong other = paging.LeafSize > 0x1000 ? Paging.Frame + paging.LeafSize : Other;
        _processor.Memory.Write(Paging.Frame + 0x10, 0x1111);
        _processor.Memory.Write(other + 0x10, 0x2222);
        paging.Write(paging.Leaf, paging.Read(paging.Leaf) | bits);
        Cpu.FlushTlb(keepGlobal: false);
        Assert.Equal(0x1111ul, Cpu.Load(Linear, 4));
        paging.Write(paging.Leaf, (paging.Read(paging.Leaf) & 0xFFF) | other);
        return paging;
    }

    [Fact]
    public void A_translation_stays_until_it_is_invalidated()
    {
        CacheThenMove(PageKind.Long4K);
        Assert.Equal(0x1111ul, Cpu.Load(Linear, 4));
        Cpu.FlushPage(Linear);
        Assert.Equal(0x2222ul, Cpu.Load(Linear, 4));
    }

    [Theory]
    [InlineData(PageKind.Long2M)]
    [InlineData(PageKind.Pae2M)]
    [InlineData(PageKind.Legacy4M)]
    public void INVLPG_of_any_address_in_a_large_page_invalidates_all_of_it(PageKind kind)
    {
        CacheThenMove(kind);
        Assert.Equal(0x1111ul, Cpu.Load(Linear, 4));
        Cpu.TryResolve(Linear, 4, Access.Read, out _);
        Cpu.FlushPage(Linear + 0x1F_F000);
        Assert.Equal(0x2222ul, Cpu.Load(Linear, 4));
        Assert.NotEqual(Linear & ~0xFFFul, FirstLevelTlb.EntryOf(&_processor.S->SupervisorTlb, Linear)->ReadTag);
    }

    [Fact]
    public void INVLPG_invalidates_global_pages_too()
    {
        CacheThenMove(PageKind.Long4K, Paging.G);
        Cpu.FlushPage(Linear);
        Assert.Equal(0x2222ul, Cpu.Load(Linear, 4));
    }

    [Fact]
    public void A_write_of_CR3_keeps_global_pages_only()
    {
        CacheThenMove(PageKind.Long4K);
        Cpu.FlushAfterCr3Write(keepPcid: false);
        Assert.Equal(0x2222ul, Cpu.Load(Linear, 4));

        CacheThenMove(PageKind.Long4K, Paging.G);
        Cpu.FlushAfterCr3Write(keepPcid: false);
        Assert.Equal(0x1111ul, Cpu.Load(Linear, 4));
        Cpu.FlushTlb(keepGlobal: true);
        Assert.Equal(0x1111ul, Cpu.Load(Linear, 4));
        Cpu.FlushTlb(keepGlobal: false);
        Assert.Equal(0x2222ul, Cpu.Load(Linear, 4));
    }

    [Fact]
    public void Each_PCID_has_its_own_translations()
    {
        CacheThenMove(PageKind.Long4K);
        _processor.S->Cr4 |= Cr4Bits.Pcide;
        _processor.S->Cr3 = Paging.Top | 5;
        Cpu.FlushAfterCr3Write(keepPcid: true);
        _processor.S->Cr3 = Paging.Top;
        Cpu.FlushAfterCr3Write(keepPcid: true);
        Assert.Equal(0x1111ul, Cpu.Load(Linear, 4));

        _processor.S->Cr3 = Paging.Top | 5;
        Cpu.FlushAfterCr3Write(keepPcid: true);
        Assert.Equal(0x2222ul, Cpu.Load(Linear, 4));
    }

    [Fact]
    public void A_write_of_CR3_flushes_the_PCID_that_it_selects_unless_told_not_to()
    {
        CacheThenMove(PageKind.Long4K);
        _processor.S->Cr4 |= Cr4Bits.Pcide;
        Cpu.FlushAfterCr3Write(keepPcid: true);
        Assert.Equal(0x1111ul, Cpu.Load(Linear, 4));
        Cpu.FlushAfterCr3Write(keepPcid: false);
        Assert.Equal(0x2222ul, Cpu.Load(Linear, 4));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_first_level_survives_a_write_of_CR3_only_if_all_it_holds_is_global(bool global)
    {
        CacheThenMove(PageKind.Long4K, global ? Paging.G : 0);
        Cpu.FlushTlb(keepGlobal: false);
        Cpu.TryResolve(Linear, 4, Access.Read, out _);
        Cpu.FlushAfterCr3Write(keepPcid: false);
        Assert.Equal(global, FirstLevelTlb.EntryOf(&_processor.S->SupervisorTlb, Linear)->ReadTag == (Linear & ~0xFFFul));
    }

    [Fact]
    public void INVLPG_empties_the_jump_caches_of_the_page_if_it_was_executed()
    {
        CacheThenMove(PageKind.Long4K);
        ulong* inPage = JumpOf(Linear + 8);
        ulong* behind = JumpOf(Linear + 0x1000);
        Cpu.EnterJump(AddressSpace.Supervisor, Linear + 8, (byte*)1);
        Cpu.EnterJump(AddressSpace.Supervisor, Linear + 0x1000, (byte*)2);
        Cpu.FlushPage(Linear);
        Assert.Equal(unchecked(0 - (Linear + 8)), *inPage);
        Span<byte> code = stackalloc byte[1];
        Cpu.TryFetch(Linear, code, out _, out _, out _);
        Cpu.FlushPage(Linear);
        Assert.Equal(ulong.MaxValue, *inPage);
        Assert.Equal(unchecked(0 - (Linear + 0x1000)), *behind);

        ulong* JumpOf(ulong rip) => _processor.S->SupervisorJumps.Entry + (NativeJumpCache.IndexOf(rip, AddressSpace.Supervisor) * 2);
    }

    [Fact]
    public void INVLPG_leaves_alone_what_only_the_other_half_of_the_address_space_can_hold()
    {
        using var memory = new TableMemory(SecondLevelTlb.Size);
        var tlb = new SecondLevelTlb(memory);
        tlb.Insert(0xFFFF_8880_0000_0000, 0, default, PageWalker.Size2M);
        tlb.Insert(0xFFFF_8880_0000_0000, 0, default, PageWalker.Size1G);
        Assert.True(tlb.MayHoldLargePage(0xFFFF_8880_0000_1000));
        Assert.True(tlb.MayHoldGiantPage(0xFFFF_8880_0000_1000));
        Assert.False(tlb.MayHoldLargePage(0x0000_0880_0000_0000));
        Assert.False(tlb.MayHoldGiantPage(0x0000_0880_0000_0000));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(254)]
    [InlineData(1000)]
    public void A_write_of_CR3_drops_local_pages_from_a_TLB_of_global_ones(int pages)
    {
        CacheThenMove(PageKind.Long4K, Paging.G);
        Cpu.FlushTlb(keepGlobal: false);
        Cpu.TryResolve(Linear, 4, Access.Read, out _);
        NativeFilled* local = &_processor.S->SupervisorLocal;
        for (int i = 0; i < pages; i++)
        {
            local->Add((ulong)i << 12);
        }

        // Where they are too many to be known one by one, all go.
        bool known = pages < NativeFilled.Capacity && TestOptions.Engine.Has(Optimizations.FlushLists);
        Cpu.FlushAfterCr3Write(keepPcid: false);
        Assert.Equal(0ul, local->Count);
        Assert.Equal(known, FirstLevelTlb.EntryOf(&_processor.S->SupervisorTlb, Linear)->ReadTag == (Linear & ~0xFFFul));
    }

    [Theory]
    [InlineData(0, 0, true)]
    [InlineData(0, 5, false)]
    [InlineData(1, 0, true)]
    [InlineData(1, 5, false)]
    [InlineData(2, 0, true)]
    [InlineData(3, 0, true)]
    public void INVPCID_invalidates_what_its_type_says(int type, int pcid, bool gone)
    {
        CacheThenMove(PageKind.Long4K);
        _processor.S->Cr4 |= Cr4Bits.Pcide;
        Cpu.FlushPcid((SoftwareVcpu.InvpcidType)type, pcid, Linear);
        Assert.Equal(gone ? 0x2222ul : 0x1111ul, Cpu.Load(Linear, 4));
    }

    [Fact]
    public void INVPCID_type_3_keeps_global_pages_and_type_2_does_not()
    {
        CacheThenMove(PageKind.Long4K, Paging.G);
        Cpu.FlushPcid(SoftwareVcpu.InvpcidType.AllContextsKeepGlobal, 0, 0);
        Assert.Equal(0x1111ul, Cpu.Load(Linear, 4));
        Cpu.FlushPcid(SoftwareVcpu.InvpcidType.AllContexts, 0, 0);
        Assert.Equal(0x2222ul, Cpu.Load(Linear, 4));
    }

    [Fact]
    public void Widened_rights_need_no_invalidation()
    {
        _processor.Long();
        var paging = new Paging(_processor, PageKind.Long4K);
        _processor.S->Cr0 |= Cr0Bits.Wp;
        paging.Write(paging.Leaf, paging.Read(paging.Leaf) & ~Paging.Rw);
        Cpu.Load(Linear, 4);
        paging.Write(paging.Leaf, paging.Read(paging.Leaf) | Paging.Rw);
        Cpu.Store(Linear, 4, 7);
        Assert.Equal(7u, _processor.Memory.Read<uint>(Paging.Frame + 0x10));
    }

    [Fact]
    public void A_read_opens_the_first_level_for_reads_and_a_write_for_both()
    {
        _processor.Long();
        var paging = new Paging(_processor, PageKind.Long4K);
        NativeTlbEntry* entry = FirstLevelTlb.EntryOf(&_processor.S->SupervisorTlb, Linear);
        byte* host = Cpu.TryResolve(Linear, 4, Access.Read, out ResolveResult result);
        Assert.Equal(ResolveKind.Ok, result.Kind);
        Assert.Equal(Linear & ~0xFFFul, entry->ReadTag);
        Assert.NotEqual(Linear & ~0xFFFul, entry->WriteTag);
        Assert.Equal((ulong)host, entry->HostPage + 0x10);
        Assert.Equal(0ul, paging.Read(paging.Leaf) & Paging.D);

        PageFlags* flags = _processor.Memory.Find(Paging.Frame)!.Flags + (Paging.Frame >> 12);
        *flags |= PageFlags.Clean;
        Cpu.TryResolve(Linear, 4, Access.Write, out result);
        Assert.Equal(Linear & ~0xFFFul, entry->WriteTag);
        Assert.NotEqual(0ul, paging.Read(paging.Leaf) & Paging.D);
        Assert.Equal(PageFlags.None, *flags & PageFlags.Clean);

        Cpu.ForgetWrites(Paging.Frame);
        Assert.NotEqual(Linear & ~0xFFFul, entry->WriteTag);
        Assert.Equal(Linear & ~0xFFFul, entry->ReadTag);
    }

    [Theory]
    [InlineData(0)]
    [InlineData((1L << 48) + (1L << 33))]
    [InlineData(-(1L << 48) - (1L << 33))]
    public void No_difference_of_addresses_makes_the_tag_of_no_page_canonical(long delta)
    {
        Assert.Equal(0ul, NativeStackPage.NoPage & 0xFFF);
        Assert.InRange((NativeStackPage.NoPage + (ulong)delta) >> 56, 1ul, 254ul);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Writes_by_the_stacks_page_are_taken_away_and_told_of_even_where_the_TLB_forgot_the_page(bool user)
    {
        _processor.Long();
        _ = new Paging(_processor, PageKind.Long4K);
        ulong page = Linear & ~0xFFFul;
        NativeStackPage* stack = user ? &_processor.S->UserStack : &_processor.S->SupervisorStack;
        *stack = new NativeStackPage
        {
            ReadTag = page,
            WriteTag = page,
            Delta = (ulong)Cpu.TryResolve(page, 4, Access.Write, out _) - page,
        };
        FirstLevelTlb.Flush(&_processor.S->SupervisorTlb);
        Assert.False(Cpu.ForgetWrites(Other));
        stack->WriteTag = page;
        Assert.True(Cpu.ForgetWrites(Paging.Frame));
        Assert.Equal((page, NativeStackPage.NoPage), (stack->ReadTag, stack->WriteTag));
        Assert.False(Cpu.ForgetWrites(Paging.Frame));
    }

    [Fact]
    public void Only_writes_that_touch_translated_code_are_slow_on_its_page()
    {
        _processor.Protected();
        var watch = new Watch(0x5000, 0x10);
        Cpu.CodeWatch = watch;
        _processor.Memory.Find(0)!.Flags[5] |= PageFlags.Code;
        Assert.True(Cpu.TryResolve(0x5800, 4, Access.Write, out ResolveResult result) != null);
        Assert.NotEqual(0x5000ul, FirstLevelTlb.EntryOf(&_processor.S->SupervisorTlb, 0x5000)->WriteTag);
        Assert.True(Cpu.TryResolve(0x5008, 4, Access.Write, out result) == null);
        Assert.Equal(ResolveKind.Slow, result.Kind);
        Cpu.Store(0x5008, 4, 1);
        Assert.Equal([(0x5008ul, 4)], watch.Invalidated);
    }

    [Theory]
    [InlineData(0x1FFEul, false, (int)ResolveKind.Ok)]
    [InlineData(Processor.MmioGpa - 2, false, (int)ResolveKind.Slow)]
    [InlineData(Processor.MmioGpa, false, (int)ResolveKind.Slow)]
    [InlineData(Processor.RomGpa, true, (int)ResolveKind.Slow)]
    [InlineData(Processor.RomGpa, false, (int)ResolveKind.Ok)]
    public void What_is_not_plain_memory_is_slow(ulong linear, bool write, int expected)
    {
        _processor.Protected();
        Cpu.TryResolve(linear, 4, write ? Access.Write : Access.Read, out ResolveResult result);
        Assert.Equal(expected, (int)result.Kind);
    }

    [Fact]
    public void A_miss_reports_faults_without_touching_CR2()
    {
        _processor.Long();
        Cpu.TryResolve(0x1234_5678_9000, 8, Access.Write, out ResolveResult result);
        Assert.Equal((ResolveKind.PageFault, PageFaultCode.Write, 0ul), (result.Kind, result.ErrorCode, _processor.S->Cr2));
        Cpu.TryResolve(0x8000_0000_0000, 8, Access.Write, out result);
        Assert.Equal(ResolveKind.NotCanonical, result.Kind);
    }

    [Fact]
    public void No_address_matches_an_empty_first_level()
    {
        NativeTlbEntry* entry = NativeTlb.EntriesOf(&_processor.S->UserTlb);
        for (int i = 0; i < NativeTlb.Entries; i++, entry++)
        {
            Assert.NotEqual(i, FirstLevelTlb.Index(entry->ReadTag));
            Assert.Equal(entry->ReadTag, entry->WriteTag);
        }
    }

    [Fact]
    public void One_byte_reaches_the_users_TLB_from_translated_code_and_one_line_holds_an_entry()
    {
        Assert.Equal(NativeTlbEntry.DeltaOffset, sizeof(NativeTlbEntry) - sizeof(ulong));
        Assert.Equal(1 << NativeTlb.EntryShift, sizeof(NativeTlbEntry));
        int tlb = StateOffset.Tlb(AddressSpace.User);
        Assert.InRange(tlb + NativeTlbEntry.DeltaOffset, 0, sbyte.MaxValue);
        Assert.InRange(StateOffset.Gpr(12), sbyte.MinValue, 0);
        Assert.Equal(0u, ((uint)tlb + StateOffset.Bias) % (uint)sizeof(NativeTlbEntry));
    }

    private sealed class Watch(ulong start, ulong length) : ICodeWatch
    {
        public List<(ulong, int)> Invalidated { get; } = [];

        public int GiveWay(ulong gpa, int size, byte* running) => gpa < start + length && start < gpa + (uint)size ? -1 : 0;

        public int Invalidate(ulong gpa, int size)
        {
            Invalidated.Add((gpa, size));
            return 0;
        }
    }
}
