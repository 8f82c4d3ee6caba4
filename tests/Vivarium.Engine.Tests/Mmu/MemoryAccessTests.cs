using Vivarium.Engine.Software;
using Vivarium.Engine.Software.Mmu;

namespace Vivarium.Engine.Tests.Mmu;

public sealed unsafe class MemoryAccessTests : IDisposable
{
    private readonly Processor _processor = new();

    public void Dispose() => _processor.Dispose();

    private SoftwareVcpu Cpu => _processor.Cpu;

    [Fact]
    public void A_store_that_crosses_into_a_fault_stores_nothing()
    {
        _processor.Long();
        new Paging(_processor, PageKind.Long4K);
        ulong linear = Paging.Linear + 0xFFC;
        GuestException fault = Assert.Throws<GuestException>(() => Cpu.Store(linear, 8, ulong.MaxValue));
        Assert.Equal((Vector.PageFault, (uint?)PageFaultCode.Write), (fault.Vector, fault.ErrorCode));
        Assert.Equal(Paging.Linear + 0x1000, _processor.S->Cr2);
        Assert.Equal(0u, _processor.Memory.Read<uint>(Paging.Frame + 0xFFC));
    }

    [Fact]
    public void Accesses_cross_pages_that_are_not_neighbours()
    {
        _processor.Long();
        var paging = new Paging(_processor, PageKind.Long4K);
        _processor.Memory.Write(paging.Entries[paging.Leaf] + 8, 0x90_0000 | Paging.P | Paging.Rw);
        Cpu.Store(Paging.Linear + 0xFFD, 8, 0x0807_0605_0403_0201);
        Assert.Equal(0x0807_0605_0403_0201ul, Cpu.Load(Paging.Linear + 0xFFD, 8));
        Assert.Equal(0x0807_0605_04ul, _processor.Memory.Read<ulong>(0x90_0000));
    }

    [Fact]
    public void MMIO_is_accessed_in_aligned_pieces()
    {
        _processor.Protected();
        Cpu.Load(Processor.MmioGpa + 3, 8);
        Assert.Equal([(Processor.MmioGpa + 3, 1), (Processor.MmioGpa + 4, 4), (Processor.MmioGpa + 8, 2), (Processor.MmioGpa + 10, 1)], _processor.Bus.MmioReads);
        Cpu.Store(Processor.MmioGpa + 8, 8, 0x1122_3344_5566_7788);
        Assert.Equal([(Processor.MmioGpa + 8, 8, 0x1122_3344_5566_7788ul)], _processor.Bus.MmioWrites);
    }

    [Fact]
    public void Writes_to_ROM_are_dropped()
    {
        _processor.Protected();
        Cpu.Store(Processor.RomGpa, 4, 5);
        Assert.Equal(0ul, Cpu.Load(Processor.RomGpa, 4));
    }

    [Fact]
    public void System_accesses_are_made_as_supervisor_whatever_AC_says()
    {
        _processor.Long(3);
        var paging = new Paging(_processor, PageKind.Long4K);
        paging.Write(paging.Leaf, paging.Read(paging.Leaf) & ~Paging.Us);
        Assert.Equal(0ul, Cpu.LoadSystem(Paging.Linear, 8));
        paging.Write(paging.Leaf, paging.Read(paging.Leaf) | Paging.Us);
        Cpu.FlushTlb(false);
        _processor.S->Cr4 |= Cr4Bits.Smap;
        _processor.S->SystemFlags |= RflagsBits.Ac;
        Assert.Equal(PageFaultCode.Present, Assert.Throws<GuestException>(() => Cpu.LoadSystem(Paging.Linear, 8)).ErrorCode);
    }

    [Fact]
    public void A_fetch_over_the_end_of_a_page_gives_the_bytes_there_are_and_the_fault_behind_them()
    {
        _processor.Long();
        new Paging(_processor, PageKind.Long4K);
        Span<byte> buffer = stackalloc byte[15];
        Assert.True(Cpu.TryFetch(Paging.Linear + 0xFFB, buffer, out int got, out ulong gpa, out PageFaultInfo fault));
        Assert.Equal((5, Paging.Frame + 0xFFB), (got, gpa));
        Assert.Equal((Paging.Linear + 0x1000, PageFaultCode.InstructionFetch), (fault.Address, fault.ErrorCode));
        Assert.False(Cpu.TryFetch(Paging.Linear + 0x1000, buffer, out got, out _, out fault));
        Assert.Equal(0, got);
    }

    [Fact]
    public void Sixty_four_bit_addresses_use_only_the_bases_of_FS_and_GS()
    {
        _processor.Long();
        _processor.S->Fs.Base = 0x1000;
        _processor.S->Ds.Base = 0x5000;
        Assert.Equal(0x1234ul, Cpu.SegmentedAddress(4, 0x234, 8, Access.Read));
        Assert.Equal(0x234ul, Cpu.SegmentedAddress(3, 0x234, 8, Access.Write));
        Assert.Equal(Vector.GeneralProtection, Assert.Throws<GuestException>(() => Cpu.SegmentedAddress(3, 0x7FFF_FFFF_FFFC, 8, Access.Read)).Vector);
        Assert.Equal(Vector.StackFault, Assert.Throws<GuestException>(() => Cpu.SegmentedAddress(2, 0x8000_0000_0000, 8, Access.Read)).Vector);
    }

    [Theory]
    [InlineData(0x93u, 0xFFFu, 0xFFCu, true, true)]
    [InlineData(0x93u, 0xFFFu, 0xFFDu, true, false)]
    [InlineData(0x91u, 0xFFFu, 0u, true, false)]
    [InlineData(0x91u, 0xFFFu, 0u, false, true)]
    [InlineData(0x97u, 0xFFFu, 0xFFFu, false, false)]
    [InlineData(0x97u, 0xFFFu, 0x1000u, false, true)]
    [InlineData(0x97u, 0xFFFu, 0xFFFDu, false, false)]
    [InlineData(0x4097u, 0xFFFu, 0xFFFDu, false, true)]
    [InlineData(0x99u, 0xFFFu, 0u, false, false)]
    [InlineData(0x9Bu, 0xFFFu, 0u, false, true)]
    [InlineData(0x9Bu, 0xFFFu, 0u, true, false)]
    [InlineData(0x1_0093u, 0xFFFu, 0u, false, false)]
    public void Segments_are_checked_for_type_and_limit(uint attributes, uint limit, uint offset, bool write, bool allowed)
    {
        Access access = write ? Access.Write : Access.Read;
        _processor.Protected();
        _processor.S->Es = new NativeSegment { Base = 0x10000, Limit = limit, Attributes = attributes };
        if (allowed)
        {
            Assert.Equal(0x10000ul + offset, Cpu.SegmentedAddress(0, offset, 4, access));
        }
        else
        {
            Assert.Throws<GuestException>(() => Cpu.SegmentedAddress(0, offset, 4, access));
        }
    }
}
