using Vivarium.Engine.Software.Mmu;
using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// The search of the second-level TLB (<see cref="SecondLevelTlb"/>) after a miss of the first: what is found there, and
/// needs nothing noted, enters the first level without the monitor.
/// </summary>
/// <param name="emitter">Where to emit.</param>
/// <param name="alone">The machine has one processor: nobody else takes write tags away.</param>
/// <param name="walk">Looks into the paging structures for what is not found; null: that is for the monitor.</param>
internal sealed unsafe class SecondLevelSearch(Emitter emitter, bool alone, PageWalkThunk? walk)
{
    private const int Equal = 4;
    private const int NotEqual = 5;
    private const int Above = 7;
    private const int Compare = 0x3B;
    private const int Test = 0;
    private const int And = 4;

    // Of an entry's fields; entries are reached from the table's start, so the header is in these.
    public static readonly int PageNumber = Of(page => &page->PageNumber);
    public static readonly int Stamp = Of(page => &page->Stamp);
    public static readonly int Gpa = Of(page => &page->Page.Gpa);
    public static readonly int Host = Of(page => &page->Page.Host);
    public static readonly int Flags = Of(page => &page->Page.Flags);
    public static readonly int Rights = Of(page => &page->Page.Rights);
    public static readonly int Direct = Of(page => &page->Direct);

    private readonly Emitter _e = emitter;
    private readonly List<nint> _misses = [];

    /// <summary>
    /// In: T1 = linear address, the flags saved, S-&gt;ExitInfo = access description. If it is found, returns to the caller
    /// with T1 = host address and T2 = host minus linear address; else goes on behind, only T2 and RFLAGS lost.
    /// </summary>
    public void Emit(AddressSpace space, bool write)
    {
        _misses.Clear();
        int tlb = StateOffset.Tlb(space);
        _e.Push(Rax);
        _e.Push(Rcx);
        _e.Push(Rdx);

        // T2 = the entry; the header's size is in the fields' offsets.
        _e.LoadState(Rdx, StateOffset.SecondLevel);
        _e.MovRr(Rcx, T1);
        _e.Rr(0xC1, 5, Rcx);                    // shr rcx, 12
        _e.Byte(GuestMemory.PageShift);
        _e.Bits(T2, T1, GuestMemory.PageShift, NativePages.Entries - 1);
        _e.Rr(0xC1, 4, T2, wide: false);        // shl
        _e.Byte(NativePage.SizeShift);
        _e.Rr(0x01, Rdx, T2);                   // add T2, rdx
        _e.Rm(Compare, Rcx, T2, PageNumber);
        byte* otherPage = _e.JumpForward(NotEqual);
        byte* known = _e.Here;
        _e.Load(Rcx, T2, Stamp);
        _e.Rm(Compare, Rcx, Rdx, NativePages.Offset(p => &p->Global));
        byte* global = _e.ShortForward(0x70 | Equal);
        _e.Rm(Compare, Rcx, Rdx, NativePages.Offset(p => &p->Local));
        byte* otherSpace = _e.JumpForward(NotEqual);
        _e.AddToFilled(StateOffset.LocalPages(space), T1, Rcx);
        _e.LandShort(global);
        TestByte(T2, Direct, NativePage.DirectBit(space, write));
        Miss(Equal);

        // An access that crosses pages has two to look for.
        _e.Mov32Rr(Rcx, T1);
        _e.Rr(0x81, And, Rcx, wide: false);
        _e.Dword((int)GuestMemory.PageMask);
        _e.Rm(0x0FB7, Rdx, State, StateOffset.ExitInfo, wide: false);   // movzx: the size
        _e.Rr(0x01, Rdx, Rcx, wide: false);     // add ecx, edx
        _e.Rr(0x81, 7, Rcx, wide: false);       // cmp
        _e.Dword((int)GuestMemory.PageSize);
        byte* across = _e.JumpForward(Above);

        _e.MovRr(Rdx, T1);
        _e.Rr(0x81, And, Rdx);                  // rdx = the page
        _e.Dword(-(int)GuestMemory.PageSize);
        byte* notDirect = null;
        if (!write)
        {
            TestByte(T2, Direct, NativePage.DirectBit(space, write: true));
            notDirect = _e.JumpForward(Equal);
        }

        // A write has to be noted if the page's first since the dirty log was read, or if the page holds code.
        _e.Load(Rcx, T2, Flags);
        _e.Rm(0x0FB6, Rax, Rcx, 0, wide: false); // movzx
        _e.Rr(0x83, And, Rax, wide: false);
        _e.Byte((int)(PageFlags.Code | PageFlags.Clean));
        byte* notWritable = null;
        if (write)
        {
            Miss(NotEqual);
        }
        else
        {
            notWritable = _e.JumpForward(NotEqual);
        }

        EmitFill(tlb);
        _e.TlbField(0x89, Rdx, tlb, Rax, NativeTlbEntry.WriteTagOffset);
        byte* lost = null;
        if (!alone)
        {
            // As in TryResolve: first the tag, then the look whether the page holds code.
            _e.Barrier();
            _e.Rm(0xF6, Test, Rcx, 0, wide: false);
            _e.Byte((int)PageFlags.Code);
            lost = _e.JumpForward(NotEqual);
        }

        EmitReturn();
        if (notDirect != null)
        {
            _e.Land(notDirect);
            _e.Land(notWritable);
            EmitFill(tlb);
            EmitInvalidWriteTag(tlb);
            EmitReturn();
        }

        if (lost != null)
        {
            _e.Land(lost);
            EmitInvalidWriteTag(tlb);
            if (!write)
            {
                EmitReturn();
            }
        }

        _e.Land(across);
        EmitAcross(tlb, write);
        _e.Land(otherPage);
        _e.Land(otherSpace);
        if (walk is not null)
        {
            _e.Call(walk.Start);
            _e.Jcc(NotEqual, known);
        }

        foreach (nint miss in _misses)
        {
            _e.Land((byte*)miss);
        }

        _e.Pop(Rdx);
        _e.Pop(Rcx);
        _e.Pop(Rax);
    }

    private delegate void* Field(NativePage* page);

    private static int Of(Field field)
    {
        NativePage sample;
        return sizeof(NativePages) + (int)((byte*)field(&sample) - (byte*)&sample);
    }

    /// <summary>
    /// RCX = offset in the page plus size: if the first level knows both pages, and they follow each other in the host as well,
    /// they are as good as one. Both tags are asked, as for any access, so that who takes them away waits for this one too.
    /// </summary>
    private void EmitAcross(int tlb, bool write)
    {
        _e.Rr(0x81, 7, Rcx, wide: false);       // cmp
        _e.Dword(2 * (int)GuestMemory.PageSize);
        Miss(Above);
        _e.MovRr(Rdx, T1);
        _e.Rr(0x81, And, Rdx);                  // rdx = the page
        _e.Dword(-(int)GuestMemory.PageSize);
        _e.TlbPlace(Rax, Rdx);
        _e.TlbField(Compare, Rdx, tlb, Rax, NativeTlbEntry.TagOffset(write));
        Miss(NotEqual);
        _e.TlbField(0x8B, T2, tlb, Rax, NativeTlbEntry.DeltaOffset);
        _e.Rr(0x81, 0, Rdx);                    // add
        _e.Dword((int)GuestMemory.PageSize);
        _e.TlbPlace(Rax, Rdx);
        _e.TlbField(Compare, Rdx, tlb, Rax, NativeTlbEntry.TagOffset(write));
        Miss(NotEqual);
        _e.TlbField(Compare, T2, tlb, Rax, NativeTlbEntry.DeltaOffset);
        Miss(NotEqual);
        EmitReturn();
    }

    /// <summary>RAX = the place in the first level, whose entry is filled but for the write tag; T2 = host minus linear address.</summary>
    private void EmitFill(int tlb)
    {
        _e.TlbPlace(Rax, T1);
        _e.Load(T2, T2, Host);
        _e.TlbField(0x89, T2, tlb, Rax, NativeTlbEntry.HostPageOffset);
        _e.Rr(0x29, Rdx, T2);                   // sub T2, rdx
        _e.TlbField(0x89, T2, tlb, Rax, NativeTlbEntry.DeltaOffset);
        _e.TlbField(0x89, Rdx, tlb, Rax, NativeTlbEntry.ReadTagOffset);
    }

    /// <summary>The write tag of the entry at RAX matches no access. RDX is lost.</summary>
    private void EmitInvalidWriteTag(int tlb)
    {
        _e.MovImm(Rdx, FirstLevelTlb.Invalid);
        _e.Rr(0x85, Rax, Rax, wide: false);     // test
        byte* other = _e.ShortForward(0x70 | NotEqual);
        _e.MovImm(Rdx, FirstLevelTlb.InvalidForEntry0);
        _e.LandShort(other);
        _e.TlbField(0x89, Rdx, tlb, Rax, NativeTlbEntry.WriteTagOffset);
    }

    private void EmitReturn()
    {
        _e.Rx(0x8D, T1, T1, T2, 0, 0);          // lea
        _e.Pop(Rdx);
        _e.Pop(Rcx);
        _e.Pop(Rax);
        _e.Byte(0xC3);
    }

    private void Miss(int condition) => _misses.Add((nint)_e.JumpForward(condition));

    private void TestByte(int @base, int displacement, int bits)
    {
        _e.Rm(0xF6, Test, @base, displacement, wide: false);
        _e.Byte(bits);
    }
}
