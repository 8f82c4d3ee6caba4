using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Memory accesses of a loop's second round: each looks first at the page it went to last time (NativeLoopPage). That needs
// no index, so the host address does not wait for the guest's, and the load goes on as early as it would natively.
internal sealed unsafe partial class Translator
{
    private const int AndRm = 4;
    private const int CompareRm = 7;

    /// <summary>Where in the data of a cold part the number of a loop's page is.</summary>
    private const int LoopPageShift = 48;

    /// <summary>By access: through which register (or in which instruction), and what it does.</summary>
    private readonly List<(uint Access, int Base, int Index)> _loopPages = [];

    /// <summary>
    /// The number of the page that an access of the loop remembers, or -1: all are taken; or it writes and there are other
    /// processors, which could not tell that it still may.
    /// </summary>
    /// <param name="base">A host register, or -1 for an address that is made of more.</param>
    private int LoopPage(AccessInfo info, int @base)
    {
        if (info.Write && AlignJumps)
        {
            return -1;
        }

        (uint, int, int) access = (info.Word, @base, @base < 0 ? _index : 0);
        int number = _loopPages.IndexOf(access);
        if (number < 0 && !_secondRound && _loopPages.Count < NativeLoopPages.Count)
        {
            number = _loopPages.Count;
            _loopPages.Add(access);
        }

        return number;
    }

    private static int LoopPageOffset(int number) => StateOffset.LoopPages + (number * sizeof(NativeLoopPage));

    private static int LoopLimitOffset(int number) => LoopPageOffset(number) + sizeof(ulong);

    private static int LoopDeltaOffset(int number) => LoopPageOffset(number) + (2 * sizeof(ulong));

    private void EmitForgetPage(int number)
    {
        _e.Rm(0xC7, 0, State, LoopLimitOffset(number));
        _e.Dword(0);
    }

    /// <summary>In the first round: the TLB had the page of base + displacement; T2 = delta. T1 is lost.</summary>
    private void EmitNotePage(int number, int size, int @base, int displacement)
    {
        _e.StoreState(LoopDeltaOffset(number), T2);
        _e.Lea(T1, @base, displacement);
        _e.Rr(0x81, AndRm, T1);
        _e.Dword(-0x1000);
        _e.StoreState(LoopPageOffset(number), T1);
        _e.Rm(0xC7, 0, State, LoopLimitOffset(number));
        _e.Dword(4097 - size);
    }

    /// <summary>T1 = linear address; then T2 = delta, and T1 as it was. RFLAGS are lost.</summary>
    private HostOperand EmitLoopAccess(int number, AccessInfo info, HostOperand operand)
    {
        byte* miss = EmitLookAtLoopPage(number);
        ColdKind kind = operand.Base == T1 ? ColdKind.LoopPageAddress : ColdKind.LoopPage;
        _cold.Add(new ColdPart(kind, _rip, miss, _e.Here, info.Word | ((ulong)number << LoopPageShift), _flags, _mode.Space(), _recipe));
        return operand;
    }

    /// <summary>As above, but for what is to be done where it is another page: returns the jump to be landed then.</summary>
    private byte* EmitLookAtLoopPage(int number)
    {
        _e.MovRr(T2, T1);
        _e.Rm(0x2B, T2, State, LoopPageOffset(number));     // sub
        _e.Rm(0x3B, T2, State, LoopLimitOffset(number));    // cmp
        byte* miss = _e.JumpForward(3);                     // jae
        _e.LoadState(T2, LoopDeltaOffset(number));
        return miss;
    }

    /// <summary>If the TLB has the page, notes it and goes on; else T1 and T2 as <see cref="Thunks.Resolve"/> wants them.</summary>
    private void EmitLoopPageMiss(in ColdPart part)
    {
        var info = new AccessInfo((uint)part.Data);
        int number = (int)(part.Data >> LoopPageShift);
        int tlb = StateOffset.Tlb(part.Space);
        int tag = NativeTlbEntry.TagOffset(info.Write);
        _e.TlbPlace(T2, T1);
        _e.TlbField(0x33, T1, tlb, T2, tag);                // xor
        _e.Rr(0x81, CompareRm, T1);
        _e.Dword(4096 - info.Size);
        byte* unknown = _e.JumpForward(JaCondition);
        _e.StoreState(StateOffset.JumpRax, Rax);
        _e.TlbField(0x8B, Rax, tlb, T2, tag);
        _e.StoreState(LoopPageOffset(number), Rax);
        _e.Rr(0x31, Rax, T1);                               // xor
        _e.TlbField(0x8B, T2, tlb, T2, NativeTlbEntry.DeltaOffset);
        _e.StoreState(LoopDeltaOffset(number), T2);
        _e.Rm(0xC7, 0, State, LoopLimitOffset(number));
        _e.Dword(4097 - info.Size);
        _e.LoadState(Rax, StateOffset.JumpRax);
        _e.Jmp(part.Resume);
        _e.Land(unknown);
    }
}
