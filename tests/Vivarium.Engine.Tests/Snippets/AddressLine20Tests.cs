using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>The A20 gate of the PC AT: with address line 20 held low, the second megabyte is the first.</summary>
public sealed class AddressLine20Tests
{
    private const byte Gate = 0x92;

    [Theory]
    [InlineData(true, 0x22)]
    [InlineData(false, 0x11)]
    public void RealModeAddressesWrapWhenItIsOff(bool on, ulong read)
    {
        using SnippetMachine m = Real();
        m.A20 = on;
        m.Memory.Write(0x600ul, (byte)0x11);
        m.Memory.Write(0x10_0600ul, (byte)0x22);
        m.Write(c =>
        {
            c.mov(ax, 0xFFFF);
            c.mov(ds, ax);
            c.mov(bl, __byte_ptr[0x610]);
            c.mov(__byte_ptr[0x611], bl);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(read, m.Rbx);
        Assert.Equal((byte)read, m.Memory.Read<byte>(on ? 0x10_0601ul : 0x601));
    }

    /// <summary>What HIMEM and its kin do: write by one address, look by the other, in a loop, switching as they go.</summary>
    [Fact]
    public void TheInstructionAfterTheSwitchSeesIt()
    {
        using SnippetMachine m = Real();
        m.Bus.OnPortWrite = value => m.A20 = (value & 2) != 0;
        m.Memory.Write(0x600ul, (byte)0x11);
        m.Memory.Write(0x10_0600ul, (byte)0x22);
        m.Write(c =>
        {
            var again = c.CreateLabel();
            c.mov(ax, 0xFFFF);
            c.mov(ds, ax);
            c.mov(cx, 100);
            c.xor(dx, dx);
            c.Label(ref again);
            c.mov(al, 0);
            c.@out(Gate, al);
            c.add(dl, __byte_ptr[0x610]);
            c.mov(al, 2);
            c.@out(Gate, al);
            c.add(dh, __byte_ptr[0x610]);
            c.loop(again);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(100 * 0x11 & 0xFF, (int)m.Rdx & 0xFF);
        Assert.Equal(100 * 0x22 & 0xFF, (int)(m.Rdx >> 8) & 0xFF);
    }

    /// <summary>Code that runs in the second megabyte goes on in the first when it switches the line off.</summary>
    [Fact]
    public void CodeIsFetchedThroughTheGateToo()
    {
        using SnippetMachine m = Real();
        m.Bus.OnPortWrite = value => m.A20 = (value & 2) != 0;
        m.State.Segments[1].Selector = 0xFFFF;
        m.State.Segments[1].Base = 0xF_FFF0;
        m.State.Rip = 0x610;
        ulong off = m.Write(0x610, c =>
        {
            c.mov(al, 0);
            c.@out(Gate, al);
        }, physical: 0x10_0600);
        m.Write(off, c =>
        {
            c.mov(bl, 2);
            c.hlt();
        }, physical: 0xF_FFF0 + off);
        m.Write(off, c =>
        {
            c.mov(bl, 1);
            c.hlt();
        }, physical: off - 0x10);
        m.RunToEnd();
        Assert.Equal(1u, m.Rbx);
    }

    /// <summary>Physical addresses, those of the tables included, not linear ones.</summary>
    [Theory]
    [InlineData(PagingMode.Bits32, 22)]
    [InlineData(PagingMode.Pae, 21)]
    [InlineData(PagingMode.FourLevel, 21)]
    public void PagedAddressesAndTheTablesThemselvesAreMasked(PagingMode mode, int largeShift)
    {
        using SnippetMachine m = mode == PagingMode.FourLevel ? Long() : Protected(paging: mode);
        var pages = new PageTables(m.Memory, mode, 0x20_0000);
        for (ulong page = 0; page < IdentityEnd; page += 0x1000)
        {
            pages.Map(page, page);
        }

        pages.Map(Spare, 0x10_0000);
        const ulong large = 0x70_0000;
        pages.MapLarge(large >> largeShift << largeShift, large >> largeShift << largeShift, largeShift);
        m.State.Cr3 = pages.Root | (1 << 20);
        m.A20 = false;
        m.Memory.Write(0x600ul, 1u);
        m.Memory.Write(0x60_0600ul, 2u);
        m.Write(c =>
        {
            c.mov(ebx, (int)Spare + 0x600);
            c.mov(esi, (int)large + 0x600);
            c.mov(eax, __dword_ptr[ebx]);
            c.mov(edx, __dword_ptr[esi]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal((1u, 2u), ((uint)m.Rax, (uint)m.Rdx));
    }

    [Fact]
    public void SettingItToWhatItIsFlushesNothing()
    {
        using SnippetMachine m = Long();
        m.Bus.OnPortWrite = value => m.A20 = (value & 2) != 0;
        m.Write(c =>
        {
            c.mov(al, 2);
            c.@out(Gate, al);
            c.@out(Gate, al);
            c.hlt();
        });
        long before = m.Cpu.Statistics.TlbFlushes;
        m.Cpu.SetState(m.State);
        long withState = m.Cpu.Statistics.TlbFlushes - before;
        m.RunToEnd();
        Assert.Equal(before + (2 * withState), m.Cpu.Statistics.TlbFlushes);
    }
}
