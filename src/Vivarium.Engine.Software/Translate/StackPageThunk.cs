using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// Where accesses through the stack pointer go that are not to the page it was in last (<see cref="NativeStackPage"/>): what the
/// first-level TLB knows becomes that page; all else is a miss like any other.
/// </summary>
/// <param name="emitter">Where to emit.</param>
/// <param name="alone">The machine has one processor: nobody else takes write tags away.</param>
internal sealed unsafe class StackPageThunk(Emitter emitter, bool alone)
{
    private const int Above = 7;
    private const int Compare = 0x3B;
    private const int CompareImm = 7;

    private readonly Emitter _e = emitter;

    /// <summary>
    /// In: T1 = linear address XOR the tag that is noted, the flags saved, S-&gt;ExitInfo = access description. Returns with T1 = host
    /// address and T2 = host minus linear address, or goes on elsewhere.
    /// </summary>
    /// <param name="space">With whose rights.</param>
    /// <param name="write">What the access is.</param>
    /// <param name="miss">Takes over what the TLB does not know: it gets T1 and T2 as <see cref="Thunks.Resolve"/> does.</param>
    public byte* Emit(AddressSpace space, bool write, byte* miss)
    {
        int tlb = StateOffset.Tlb(space);
        int stack = StateOffset.StackPage(space);

        byte* unknown = _e.Here;
        _e.Pop(Rcx);
        _e.Pop(Rax);
        _e.TlbField(0x33, T1, tlb, T2, NativeTlbEntry.TagOffset(write)); // xor: as the miss expects it
        _e.Jmp(miss);

        byte* start = _e.Here;
        _e.Rm(0x33, T1, State, stack + NativeStackPage.TagOffset(write)); // xor
        _e.TlbPlace(T2, T1);
        _e.Push(Rax);
        _e.Push(Rcx);
        _e.MovRr(Rax, T1);
        _e.TlbField(0x33, Rax, tlb, T2, NativeTlbEntry.TagOffset(write)); // xor
        _e.Rr(0x81, CompareImm, Rax);
        _e.Dword((int)GuestMemory.PageMask);
        _e.Jcc(Above, unknown);
        _e.Rm(0x0FB7, Rcx, State, StateOffset.ExitInfo, wide: false); // movzx: the size
        _e.Rr(0x01, Rax, Rcx);                  // add
        _e.Rr(0x81, CompareImm, Rcx);
        _e.Dword((int)GuestMemory.PageSize);
        _e.Jcc(Above, unknown);

        _e.MovRr(Rcx, T1);
        _e.Rr(0x29, Rax, Rcx);                  // sub: the page
        _e.TlbField(0x8B, Rax, tlb, T2, NativeTlbEntry.DeltaOffset);
        _e.StoreState(stack + NativeStackPage.DeltaOffset, Rax);
        _e.StoreState(stack + NativeStackPage.TagOffset(write: false), Rcx);
        _e.StoreState(stack + NativeStackPage.TagOffset(write: true), Rcx);

        if (!alone)
        {
            // Who takes write tags away does it here after the TLB: that one sees this tag, or the TLB's is seen to have gone.
            _e.Barrier();
        }

        _e.TlbField(Compare, Rcx, tlb, T2, NativeTlbEntry.WriteTagOffset);
        _e.MovRr(T2, Rax);
        byte* writable = _e.ShortForward(0x74); // je
        _e.MovImm(Rcx, NativeStackPage.NoPage);
        _e.StoreState(stack + NativeStackPage.TagOffset(write: true), Rcx);
        _e.LandShort(writable);
        _e.Rr(0x01, T2, T1);                    // add
        _e.Pop(Rcx);
        _e.Pop(Rax);
        _e.Byte(0xC3);
        return start;
    }
}
