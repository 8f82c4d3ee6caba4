using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// The walk of 4-level paging structures (SDM vol. 3A, 4.5) in its usual case, where nothing has to be noted in them: all
/// entries are present, in RAM, accessed, and have no reserved bit set. It makes an entry of the second-level TLB, as
/// <see cref="SoftwareVcpu"/> does; what the entry allows is looked at by whoever uses it. All else is for <see cref="PageWalker"/>.
/// </summary>
internal sealed unsafe class PageWalkThunk
{
    private const int Equal = 4;
    private const int NotEqual = 5;
    private const int NotBelow = 3;
    private const int Compare = 0x3B;
    private const int And = 4;
    private const int Or = 1;
    private const int Add = 0x03;
    private const int ShiftLeft = 4;
    private const int ShiftRight = 5;
    private const int ShiftRightSigned = 7;
    private const int Rbx = 3, Rsi = 6, Rdi = 7;

    private const int PageSizeBit = 1 << 7;
    private const int PresentAndAccessed = (1 << 0) | (1 << 5);
    private const int CanonicalBits = 48;
    private const int EntriesInTable = 512;

    // Where the entry's bits stand, and how far from PageRights' (see PageRights for those).
    private const int RightsShift = 1;
    private const int DirtyShift = 3;
    private const int GlobalShift = 4;
    private const int NoExecuteShift = 2;

    private readonly Emitter _e;
    private readonly List<nint> _refused = [];

    public PageWalkThunk(Emitter emitter)
    {
        _e = emitter;
        Start = Emit();
    }

    /// <summary>
    /// Called with T1 = linear address, T2 = <see cref="NativePages"/> plus the offset of the entry among the entries, RDX =
    /// <see cref="NativePages"/>. Returns with RFLAGS.ZF clear if the entry is the address's now. RAX and RCX are lost.
    /// </summary>
    public byte* Start { get; }

    private byte* Emit()
    {
        byte* start = _e.Here;
        _e.Push(Rbx);
        _e.Push(Rsi);
        _e.Push(Rdi);
        _e.MovRr(Rcx, T1);
        Shift(ShiftLeft, Rcx, 64 - CanonicalBits, wide: true);
        Shift(ShiftRightSigned, Rcx, 64 - CanonicalBits, wide: true);
        _e.Rr(Compare, Rcx, T1);
        Refuse(NotEqual);
        _e.Load(Rax, Rdx, NativePages.Offset(p => &p->Root));
        _e.Rr(0x85, Rax, Rax);                  // test
        Refuse(Equal);

        // RSI and RDI: all entries' bits by AND, and by OR.
        _e.Rr(0x83, Or, Rsi);
        _e.Byte(-1);
        _e.Rr(0x31, Rdi, Rdi, wide: false);     // xor
        EmitLevel(4);
        TestPageSize();
        Refuse(NotEqual);
        EmitToHost();
        EmitLevel(3);
        TestPageSize();
        byte* giant = _e.JumpForward(NotEqual);
        EmitToHost();
        EmitLevel(2);
        TestPageSize();
        byte* large = _e.JumpForward(NotEqual);
        EmitToHost();
        EmitLevel(1);
        _e.MovRr(Rbx, Rcx);
        _e.Rm(0x23, Rcx, Rdx, NativePages.Offset(p => &p->FrameMask)); // and
        byte* leaf = _e.Here;
        EmitEntry();
        _e.Rr(0x83, Or, Rax, wide: false);      // not zero
        _e.Byte(1);
        EmitReturn();

        _e.Land(giant);
        EmitLargeFrame(PageWalker.Size1G, NativePages.Offset(p => p->GiantRegions), 30, 64);
        _e.Jmp(leaf);
        _e.Land(large);
        EmitLargeFrame(PageWalker.Size2M, NativePages.Offset(p => p->LargeRegions), 22, NativePages.LargeWords * 64);
        _e.Jmp(leaf);

        foreach (nint refused in _refused)
        {
            _e.Land((byte*)refused);
        }

        _e.Rr(0x31, Rax, Rax, wide: false);
        EmitReturn();
        return start;
    }

    private void EmitReturn()
    {
        _e.Pop(Rdi);
        _e.Pop(Rsi);
        _e.Pop(Rbx);
        _e.Byte(0xC3);
    }

    /// <summary>RCX = the entry of the table at RAX.</summary>
    private void EmitLevel(int level)
    {
        _e.MovRr(Rcx, T1);
        Shift(ShiftRight, Rcx, GuestMemory.PageShift + ((level - 1) * 9), wide: true);
        AndImm(Rcx, EntriesInTable - 1);
        _e.Rx(0x8B, Rcx, Rax, Rcx, 3, 0);
        _e.Mov32Rr(Rax, Rcx);
        AndImm(Rax, PresentAndAccessed);
        _e.Rr(0x83, 7, Rax, wide: false);       // cmp
        _e.Byte(PresentAndAccessed);
        Refuse(NotEqual);
        _e.Rm(0x85, Rcx, Rdx, NativePages.Offset(p => &p->Reserved)); // test
        Refuse(NotEqual);
        _e.Rr(0x21, Rcx, Rsi);                  // and rsi, rcx
        _e.Rr(0x09, Rcx, Rdi);                  // or rdi, rcx
    }

    /// <summary>RAX = host address of the frame that RCX points to.</summary>
    private void EmitToHost()
    {
        _e.Rm(0x23, Rcx, Rdx, NativePages.Offset(p => &p->FrameMask)); // and
        EmitFrameToHost();
    }

    /// <summary>RAX = host address of the frame RCX.</summary>
    private void EmitFrameToHost()
    {
        _e.MovRr(Rax, Rcx);
        _e.Rm(0x2B, Rax, Rdx, NativePages.Offset(p => &p->LowStart)); // sub
        _e.Rm(Compare, Rax, Rdx, NativePages.Offset(p => &p->LowLength));
        byte* notLow = _e.ShortForward(0x70 | NotBelow);
        _e.Rm(Add, Rax, Rdx, NativePages.Offset(p => &p->LowHost));
        byte* found = _e.ShortForward(0xEB);
        _e.LandShort(notLow);
        _e.MovRr(Rax, Rcx);
        _e.Rm(0x2B, Rax, Rdx, NativePages.Offset(p => &p->HighStart));
        _e.Rm(Compare, Rax, Rdx, NativePages.Offset(p => &p->HighLength));
        Refuse(NotBelow);
        _e.Rm(Add, Rax, Rdx, NativePages.Offset(p => &p->HighHost));
        _e.LandShort(found);
    }

    /// <summary>RBX = RCX, the entry of a large page; RCX = the frame of the 4 KiB that the address is in. The region is noted.</summary>
    private void EmitLargeFrame(ulong size, int regions, int regionShift, int regionsInHalf)
    {
        // Bits between PAT and the frame are reserved.
        const int firstReserved = 1 << 13;
        _e.Rr(0xF7, 0, Rcx, wide: false);       // test
        _e.Dword((int)(size - firstReserved));
        Refuse(NotEqual);
        _e.MovRr(Rbx, Rcx);
        _e.Rm(0x23, Rcx, Rdx, NativePages.Offset(p => &p->FrameMask));
        _e.Rr(0x81, And, Rcx);
        _e.Dword((int)-(long)size);
        _e.Mov32Rr(Rax, T1);
        AndImm(Rax, (int)(size - GuestMemory.PageSize));
        _e.Rr(0x09, Rax, Rcx);                  // or rcx, rax

        // As SecondLevelTlb numbers them: the halves of the address space apart.
        _e.Push(Rcx);
        _e.MovRr(Rax, T1);
        Shift(ShiftRight, Rax, regionShift, wide: true);
        AndImm(Rax, regionsInHalf - 1);
        _e.MovRr(Rcx, T1);
        Shift(ShiftRightSigned, Rcx, 63, wide: true);
        AndImm(Rcx, regionsInHalf);
        _e.Rr(Add, Rax, Rcx, wide: false);
        _e.Rm(0x0FAB, Rax, Rdx, regions);       // bts
        _e.Pop(Rcx);
    }

    /// <summary>Writes the entry: frame RCX, its leaf RBX.</summary>
    private void EmitEntry()
    {
        EmitFrameToHost();
        _e.Push(Rcx);

        // RCX = PageRights
        _e.Mov32Rr(Rcx, Rsi);
        Shift(ShiftRight, Rcx, RightsShift);
        AndImm(Rcx, (int)(PageRights.Writable | PageRights.User));
        Shift(ShiftRight, Rdi, 63, wide: true);
        Shift(ShiftLeft, Rdi, NoExecuteShift);
        _e.Rr(0x09, Rdi, Rcx, wide: false);     // or ecx, edi
        _e.Mov32Rr(Rdi, Rbx);
        Shift(ShiftRight, Rdi, DirtyShift);
        AndImm(Rdi, (int)PageRights.Dirty);
        _e.Rr(0x09, Rdi, Rcx, wide: false);
        Shift(ShiftRight, Rbx, GlobalShift);
        AndImm(Rbx, (int)PageRights.Global);
        _e.Rm(0x23, Rbx, Rdx, NativePages.Offset(p => &p->GlobalPages), wide: false); // and: RBX and ZF tell whether it is global
        _e.Load(Rsi, Rdx, NativePages.Offset(p => &p->Local));
        _e.Rm(0x0F45, Rsi, Rdx, NativePages.Offset(p => &p->Global)); // cmovnz
        _e.Rr(0x09, Rbx, Rcx, wide: false);

        _e.Mov32Rr(Rdi, Rcx);
        _e.Pop(Rcx);
        _e.Rr(0x83, 7, Rsi);                    // cmp
        _e.Byte(unchecked((int)NativePages.NoStamp));
        Refuse(Equal);
        _e.Store(T2, SecondLevelSearch.Gpa, Rcx);
        _e.Store(T2, SecondLevelSearch.Host, Rax);
        Shift(ShiftRight, Rax, GuestMemory.PageShift, wide: true);
        _e.Rm(Add, Rax, Rdx, NativePages.Offset(p => &p->FlagsBias));
        _e.Store(T2, SecondLevelSearch.Flags, Rax);
        _e.Rm(0x88, Rdi, T2, SecondLevelSearch.Rights, wide: false, byteReg: true);
        _e.Rx(0x0FB6, Rax, Rdx, Rdi, 0, NativePages.Offset(p => p->DirectAccesses), wide: false); // movzx
        _e.Rm(0x88, Rax, T2, SecondLevelSearch.Direct, wide: false, byteReg: true);
        _e.MovRr(Rax, T1);
        Shift(ShiftRight, Rax, GuestMemory.PageShift, wide: true);
        _e.Store(T2, SecondLevelSearch.PageNumber, Rax);
        _e.Store(T2, SecondLevelSearch.Stamp, Rsi);
    }

    private void TestPageSize()
    {
        _e.Rr(0xF6, 0, Rcx, wide: false);       // test cl
        _e.Byte(PageSizeBit);
    }

    private void Shift(int operation, int register, int count, bool wide = false)
    {
        _e.Rr(0xC1, operation, register, wide);
        _e.Byte(count);
    }

    private void AndImm(int register, int value)
    {
        _e.Rr(0x81, And, register, wide: false);
        _e.Dword(value);
    }

    private void Refuse(int condition) => _refused.Add((nint)_e.JumpForward(condition));
}
