using Vivarium.Engine.Software;
using static Iced.Intel.AssemblerRegisters;
using static Vivarium.Engine.Tests.Snippets.PageTables;
using static Vivarium.Engine.Tests.Snippets.SnippetMachine;

namespace Vivarium.Engine.Tests.Snippets;

/// <summary>Paging as translated code meets it: modes, permissions, error codes, accessed and dirty bits (SDM vol. 3A, chapter 4).</summary>
public sealed class PagingTests
{
    private const uint Present = 1, Write = 2, User = 4, Reserved = 8, Fetch = 16;

    private static SnippetMachine Machine(PagingMode mode, int cpl) => mode switch
    {
        PagingMode.FourLevel => Long(cpl),
        _ => Protected(cpl, mode),
    };

    public static TheoryData<PagingMode> Modes => [PagingMode.Bits32, PagingMode.Pae, PagingMode.FourLevel];

    [Fact]
    public void WithoutPagingLinearAddressesArePhysical()
    {
        using SnippetMachine m = Protected();
        m.Memory.Write(Data, 0x1234_5678u);
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[(uint)Data]);
            c.mov(__dword_ptr[(uint)Data + 4], eax);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x1234_5678u, m.Rax);
        Assert.Equal(0x1234_5678u, m.Memory.Read<uint>(Data + 4));
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void LoadsAndStoresSetAccessedAndDirty(PagingMode mode)
    {
        using SnippetMachine m = Machine(mode, 0);
        m.Pages.Map(Spare, Data);
        m.Pages.Map(Spare + 0x1000, Data + 0x1000);
        m.Rbx = Spare;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[ebx]);
            c.mov(__dword_ptr[ebx + 0x1000], eax);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(A, m.Pages[Spare] & (A | D));
        Assert.Equal(A | D, m.Pages[Spare + 0x1000] & (A | D));
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void AStoreAfterALoadSetsDirtyToo(PagingMode mode)
    {
        using SnippetMachine m = Machine(mode, 0);
        m.Pages.Map(Spare, Data);
        m.Rbx = Spare;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[ebx]);
            c.mov(__dword_ptr[ebx], eax);
            c.mov(eax, __dword_ptr[ebx]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(A | D, m.Pages[Spare] & (A | D));
    }

    [Theory]
    [InlineData(PagingMode.Bits32, 22)]
    [InlineData(PagingMode.Pae, 21)]
    [InlineData(PagingMode.FourLevel, 21)]
    [InlineData(PagingMode.FourLevel, 30)]
    public void LargePagesMapAllTheirBytes(PagingMode mode, int shift)
    {
        using SnippetMachine m = Machine(mode, 0);
        uint linear = 0x4000_0000;
        uint frame = shift == 30 ? 0u : 0x80_0000u;
        m.Pages.MapLarge(linear, frame, shift);
        uint last = (shift == 30 ? (uint)RamSize : 1u << shift) - 8;
        m.Memory.Write(frame + last, 0xAABB_CCDDu);
        m.Rbx = linear;
        m.Rsi = linear + last;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[esi]);
            c.mov(__dword_ptr[esi + 4], eax);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0xAABB_CCDDu, m.Rax);
        Assert.Equal(0xAABB_CCDDu, m.Memory.Read<uint>(frame + last + 4));
        Assert.Equal(A | D | Ps, m.Pages.Read(m.Pages.Entry(linear, shift)) & (A | D | Ps));
    }

    /// <summary>Mode, CPL, entry flags, write, expected error code (null: no fault).</summary>
    public static TheoryData<PagingMode, int, ulong, bool, uint?> Permissions()
    {
        var data = new TheoryData<PagingMode, int, ulong, bool, uint?>();
        foreach (PagingMode mode in new[] { PagingMode.Bits32, PagingMode.Pae, PagingMode.FourLevel })
        {
            data.Add(mode, 0, 0, false, 0);
            data.Add(mode, 0, 0, true, Write);
            data.Add(mode, 3, 0, false, User);
            data.Add(mode, 3, 0, true, User | Write);
            data.Add(mode, 0, P, false, null);
            data.Add(mode, 0, P, true, Present | Write);
            data.Add(mode, 0, P | Rw, true, null);
            data.Add(mode, 0, P | Us, true, Present | Write);
            data.Add(mode, 3, P | Rw, false, Present | User);
            data.Add(mode, 3, P | Rw, true, Present | User | Write);
            data.Add(mode, 3, P | Us, false, null);
            data.Add(mode, 3, P | Us, true, Present | User | Write);
            data.Add(mode, 3, P | Us | Rw, true, null);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Permissions))]
    public void PermissionsDecideAndTheErrorCodeTells(PagingMode mode, int cpl, ulong flags, bool write, uint? error)
    {
        using SnippetMachine m = Machine(mode, cpl);
        m.Pages.Map(Spare, Data, flags);
        m.Rbx = Spare + 0x124;
        m.Rax = 0x55;
        m.Write(c =>
        {
            if (write)
            {
                c.mov(__dword_ptr[ebx], eax);
            }
            else
            {
                c.mov(eax, __dword_ptr[ebx]);
            }

            c.@int(EndVector);
        });
        if (error is null)
        {
            m.RunToEnd();
            return;
        }

        Stop stop = m.RunToFault(14);
        Assert.Equal(error, stop.ErrorCode);
        Assert.Equal(Spare + 0x124, m.State.Cr2);
        Assert.Equal(Code, stop.Rip);
        Assert.Equal(0x55u, m.Rax);
        Assert.Equal(0u, m.Memory.Read<uint>(Data + 0x124));
    }

    [Fact]
    public void WithoutWriteProtectTheSupervisorWritesReadOnlyPages()
    {
        using SnippetMachine m = Long();
        m.State.Cr0 &= ~Cr0Bits.Wp;
        m.Pages.Map(Spare, Data, P);
        m.Rbx = Spare;
        m.Write(c =>
        {
            c.mov(__dword_ptr[rbx], 0x77);
            c.mov(rax, cr0);
            c.bts(rax, 16);
            c.mov(cr0, rax);
            c.mov(__dword_ptr[rbx], 0x78);
            c.hlt();
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(Present | Write, stop.ErrorCode);
        Assert.Equal(0x77u, m.Memory.Read<uint>(Data));
    }

    [Theory]
    [InlineData(PagingMode.Pae, 0)]
    [InlineData(PagingMode.Pae, 3)]
    [InlineData(PagingMode.FourLevel, 0)]
    [InlineData(PagingMode.FourLevel, 3)]
    public void NoExecutePagesAreReadButNotRun(PagingMode mode, int cpl)
    {
        using SnippetMachine m = Machine(mode, cpl);
        m.Pages.Map(Spare, Data, P | Rw | Us | Xd);
        if (cpl == 0)
        {
            m.Pages.Map(Spare, Data, P | Rw | Xd);
        }

        m.Memory.Write(Data, (byte)0x90);
        m.Rbx = Spare;
        m.Write(c =>
        {
            c.movzx(eax, __byte_ptr[ebx]);
            if (mode == PagingMode.FourLevel)
            {
                c.jmp(rbx);
            }
            else
            {
                c.jmp(ebx);
            }
        });
        Stop stop = m.RunToFault(14);
        Assert.Equal(Present | Fetch | (cpl == 3 ? User : 0), stop.ErrorCode);
        Assert.Equal(Spare, stop.Rip);
        Assert.Equal(Spare, m.State.Cr2);
        Assert.Equal(0x90u, m.Rax);
    }

    [Fact]
    public void ReservedBitsFaultWithTheirOwnBit()
    {
        using SnippetMachine m = Long();
        m.Pages.Map(Spare, Data | (1ul << 51));
        m.Rbx = Spare;
        m.Write(c => c.mov(eax, __dword_ptr[rbx]));
        Assert.Equal(Present | Reserved, m.RunToFault(14).ErrorCode);
    }

    [Fact]
    public void TheNoExecuteBitIsReservedWithoutNxe()
    {
        using SnippetMachine m = Long();
        m.State.Efer &= ~EferBits.Nxe;
        m.Pages.Map(Spare, Data, P | Rw | Xd);
        m.Rbx = Spare;
        m.Write(c => c.mov(__dword_ptr[rbx], eax));
        Assert.Equal(Present | Reserved | Write, m.RunToFault(14).ErrorCode);
    }

    [Fact]
    public void SmepForbidsTheSupervisorToRunUserPages()
    {
        using SnippetMachine m = Long();
        m.State.Cr4 |= Cr4Bits.Smep;
        m.Pages.Map(Spare, Data);
        m.Memory.Write(Data, (byte)0xF4);
        m.Rbx = Spare;
        m.Write(c => c.jmp(rbx));
        Stop stop = m.RunToFault(14);
        Assert.Equal(Present | Fetch, stop.ErrorCode);
        Assert.Equal(Spare, m.State.Cr2);
    }

    [Fact]
    public void SmapForbidsUserDataUntilStacAndAgainAfterClac()
    {
        using SnippetMachine m = Long();
        m.State.Cr4 |= Cr4Bits.Smap;
        m.Pages.Map(Spare, Data);
        m.Memory.Write(Data, 0x42u);
        m.Rbx = Spare;
        ulong faulting = m.Write(c =>
        {
            c.stac();
            c.mov(eax, __dword_ptr[rbx]);
            c.mov(__dword_ptr[rbx + 4], eax);
            c.clac();
            c.mov(ecx, 1);
        });
        m.Write(faulting, c => c.mov(edx, __dword_ptr[rbx]));
        Stop stop = m.RunToFault(14);
        Assert.Equal(Present, stop.ErrorCode);
        Assert.Equal(faulting, stop.Rip);
        Assert.Equal(0x42u, m.Rax);
        Assert.Equal(0x42u, m.Memory.Read<uint>(Data + 4));
        Assert.Equal(1u, m.Rcx);
    }

    [Fact]
    public void SmapCountsForImplicitAccessesEvenWithAc()
    {
        // The stack of an interrupt is an explicit access of ring 0; the IDT read is implicit, whatever AC says.
        using SnippetMachine m = Long();
        m.State.Cr4 |= Cr4Bits.Smap;
        m.Pages.Map(Spare, Idt);
        m.State.IdtrBase = Spare;
        m.Pages.Map(Idt, Idt, P | Rw);
        m.Write(c =>
        {
            c.stac();
            c.ud2();
        });
        Assert.Equal(ExitReason.Shutdown, m.Run().Reason);
    }

    [Theory]
    [InlineData(0x0000_8000_0000_0000ul)]
    [InlineData(0x0000_7FFF_FFFF_FFFDul)]
    [InlineData(0xFFFF_7FFF_FFFF_FFFFul)]
    public void NonCanonicalAddressesFault(ulong address)
    {
        using SnippetMachine m = Long();
        m.Pages.Map(0x0000_7FFF_FFFF_F000, Data);
        m.Rbx = address;
        m.Write(c => c.mov(eax, __dword_ptr[rbx]));
        Assert.Equal(0u, m.RunToFault(13).ErrorCode);
        Assert.Equal(0ul, m.State.Cr2);

        m.Restart(Code);
        m.Rsp = Stack;
        m.Rbp = address;
        m.Write(c => c.mov(eax, __dword_ptr[rbp]));
        Assert.Equal(Code, m.RunToFault(12).Rip);
    }

    [Fact]
    public void AJumpToANonCanonicalAddressFaults()
    {
        using SnippetMachine m = Long();
        m.Rbx = 0x0000_8000_0000_0000;
        m.Write(c => c.jmp(rbx));
        Stop stop = m.RunToFault(13);
        Assert.Equal(0u, stop.ErrorCode);
    }

    [Fact]
    public void AHighLinearAddressIsCutTo32BitsInCompatibilityMode()
    {
        using SnippetMachine m = Compatibility();
        m.Pages.Map(0xFFFF_F000, Data);
        m.Pages.Map(0, Data + 0x1000);
        m.Memory.Write(Data + 0xFFC, 0x1111_1111u);
        m.Memory.Write(Data + 0x1000, 0x2222_2222u);
        m.Rbx = 0xFFFF_FFFC;
        m.Write(c =>
        {
            c.mov(eax, __dword_ptr[ebx]);
            c.mov(edx, __dword_ptr[ebx + 4]);
            c.mov(ecx, __dword_ptr[ebx + 2]);
            c.hlt();
        });
        m.RunToEnd();
        Assert.Equal(0x1111_1111u, m.Rax);
        Assert.Equal(0x2222_2222u, m.Rdx);
        Assert.Equal(0x2222_1111u, m.Rcx);
    }
}
