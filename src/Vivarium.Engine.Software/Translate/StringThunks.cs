using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// REP STOS and REP MOVS of 64-bit code and of flat 32-bit code in their usual case: forward, no element crosses a page, and the TLB knows the
/// pages, the second-level one at least. The host's own instruction does the work, page by page; everything else leaves for the emulation, which goes on
/// where the registers say (SDM vol. 2B, REP: they are exact between any two elements).
/// </summary>
internal sealed unsafe class StringThunks
{
    private const int Sizes = 4;

    /// <summary>Each size with addresses of 64 and of 32 bits.</summary>
    private const int Kinds = 2 * Sizes;

    private const int PageSize = 4096;
    private const int JnzCondition = 5;
    private const int EqualCondition = 4;
    private const int JaCondition = 7;
    private const int NotAboveCondition = 6;
    private const int DirectionFlag = (int)(RflagsBits.Df >> 8);

    private readonly Emitter _e;
    private readonly byte* _trap;
    private readonly nint[] _stos;
    private readonly nint[] _movs;

    /// <summary>By space, for reads and for writes: what <see cref="EmitSearch"/> has emitted, or null.</summary>
    private readonly nint[] _search;
    private AddressSpace _space;
    private int _tlb;
    private int _shift;

    /// <summary>Addresses and the count have 32 bits: what stands above them is not theirs, and they wrap.</summary>
    private bool _narrow;
    private byte* _refused;
    private byte* _dropRefused;

    /// <param name="emitter">Where to emit.</param>
    /// <param name="trap">Exits as a trapped instruction does.</param>
    /// <param name="secondLevel">For pages that the first-level TLB does not know; null: they are for the emulation.</param>
    /// <param name="spaces">How many <see cref="AddressSpace"/>s there are.</param>
    public StringThunks(Emitter emitter, byte* trap, SecondLevelSearch? secondLevel, int spaces)
    {
        _e = emitter;
        _trap = trap;
        _stos = new nint[spaces * Kinds];
        _movs = new nint[spaces * Kinds];
        _search = new nint[spaces * 2];
        for (int i = 0; i < _search.Length && secondLevel is not null; i++)
        {
            _search[i] = (nint)EmitSearch(secondLevel, (AddressSpace)(i / 2), write: (i & 1) != 0);
        }

        for (int i = 0; i < _stos.Length; i++)
        {
            _space = (AddressSpace)(i / Kinds);
            _tlb = StateOffset.Tlb(_space);
            _shift = i % Sizes;
            _narrow = i % Kinds >= Sizes;
            _dropRefused = _e.Here;
            _e.Pop(T2);
            _refused = EmitRefused();
            _stos[i] = (nint)EmitStos();
            _movs[i] = (nint)EmitMovs();
        }
    }

    /// <summary>
    /// Called with S-&gt;Rip and S-&gt;ExitInfo set as for a trap, and the flags saved: does the whole REP STOS and returns,
    /// or exits to have the rest emulated. Changes no register but those of the instruction, T1, T2 and RFLAGS.
    /// </summary>
    /// <param name="space">Whose TLB to ask.</param>
    /// <param name="shift">Element size as a power of two, 0-3.</param>
    /// <param name="narrow">Addresses of 32 bits, in segments that reach from 0 to 4 GiB.</param>
    public byte* Stos(AddressSpace space, int shift, bool narrow) => (byte*)_stos[Index(space, shift, narrow)];

    /// <summary>As <see cref="Stos"/>, for REP MOVS.</summary>
    public byte* Movs(AddressSpace space, int shift, bool narrow) => (byte*)_movs[Index(space, shift, narrow)];

    private static int Index(AddressSpace space, int shift, bool narrow) => ((int)space * Kinds) + (narrow ? Sizes : 0) + shift;

    /// <summary>RDX is on the stack, above the return address.</summary>
    private byte* EmitRefused()
    {
        byte* start = _e.Here;
        _e.Pop(Rdx);
        _e.RestoreFlags(T2);
        _e.Bytes([0x48, 0x8D, 0x64, 0x24, 0x08]); // lea rsp, [rsp+8]: drop the return address
        _e.Jmp(_trap);
        return start;
    }

    private byte* EmitStos()
    {
        byte* start = _e.Here;
        byte* done = EmitBegin(out byte* again);
        EmitLookUp(Rdi, write: true, _refused);
        EmitRoom();
        _e.Rr(0x01, T1, T2);                    // add T2, T1: host address
        _e.Mov32Rr(Rdx, T1);
        EmitRoomOf(Rdx);
        EmitCount(_refused);
        _e.Push(Rcx);
        _e.Push(Rdi);
        _e.MovRr(Rdi, T2);
        EmitRep(0xAA);
        _e.Pop(Rdi);
        _e.Pop(T1);
        EmitAdvance(Rdi);
        EmitEnd(again, done);
        return start;
    }

    private byte* EmitMovs()
    {
        byte* start = _e.Here;
        byte* done = EmitBegin(out byte* again);
        if (_narrow)
        {
            _e.Mov32Rr(Rsi, Rsi);
        }

        EmitLookUp(Rdi, write: true, _refused);
        EmitRoom();
        _e.Rr(0x01, T1, T2);                    // add T2, T1: host address
        _e.Push(T2);
        _e.Mov32Rr(Rdx, T1);
        EmitRoomOf(Rdx);
        byte* dropped = _dropRefused;
        EmitLookUp(Rsi, write: false, dropped);
        EmitRoom();
        _e.Rr(0x01, T1, T2);
        EmitRoomOf(T1);
        _e.Rr(0x39, Rdx, T1);                   // cmp T1, rdx
        _e.Rr(0x0F42, Rdx, T1);                 // cmovb rdx, T1
        EmitCount(dropped);
        _e.Pop(T1);
        _e.Push(Rcx);
        _e.Push(Rdi);
        _e.Push(Rsi);
        _e.MovRr(Rdi, T1);
        _e.MovRr(Rsi, T2);
        EmitRep(0xA4);
        _e.Pop(Rsi);
        _e.Pop(Rdi);
        _e.Pop(T1);
        EmitAdvance(Rsi);
        EmitAdvance(Rdi);
        EmitEnd(again, done);
        return start;
    }

    /// <summary>The register, an address, goes on by T1 elements.</summary>
    private void EmitAdvance(int register) => _e.Rx(0x8D, register, register, T1, _shift, 0, wide: !_narrow); // lea

    /// <summary>Up to where each page begins. Returns the jump to be landed when there is nothing left to do.</summary>
    private byte* EmitBegin(out byte* again)
    {
        _e.Push(Rdx);
        _e.Rm(0xF6, 0, State, StateOffset.SystemFlags + 1, wide: false); // test
        _e.Byte(DirectionFlag);
        _e.Jcc(JnzCondition, _refused);
        if (_narrow)
        {
            _e.Mov32Rr(Rcx, Rcx);
            _e.Mov32Rr(Rdi, Rdi);
        }

        again = _e.Here;
        _e.Rr(0x85, Rcx, Rcx);                  // test
        return _e.JumpForward(EqualCondition);
    }

    /// <summary>The next page, unless somebody waits.</summary>
    private void EmitEnd(byte* again, byte* done)
    {
        _e.MovRr(Rcx, Rdx);
        _e.CmpStateImm8(StateOffset.ExitRequest, 0);
        _e.Jcc(EqualCondition, again);
        _e.Rr(0x85, Rcx, Rcx);                  // test
        _e.Jcc(JnzCondition, _refused);
        _e.Land(done);
        _e.Pop(Rdx);
        _e.Byte(0xC3);
    }

    /// <summary>T2 = place in the TLB, T1 = offset in the page; on a miss goes elsewhere.</summary>
    private void EmitLookUp(int address, bool write, byte* miss)
    {
        byte* again = _e.Here;
        _e.TlbPlace(T2, address);
        _e.MovRr(T1, address);
        _e.TlbField(0x33, T1, _tlb, T2, NativeTlbEntry.TagOffset(write)); // xor
        _e.Rr(0x81, 7, T1);                     // cmp
        _e.Dword(PageSize - 1);
        var search = (byte*)_search[((int)_space * 2) + (write ? 1 : 0)];
        if (search == null)
        {
            _e.Jcc(JaCondition, miss);
            return;
        }

        byte* known = _e.ShortForward(0x70 | NotAboveCondition);
        _e.MovRr(T1, address);
        _e.Call(search);
        _e.Rr(0x85, T2, T2);                    // test
        _e.Jcc(EqualCondition, miss);
        _e.Jmp(again);
        _e.LandShort(known);
    }

    /// <summary>
    /// Called with T1 = linear address: makes the first-level TLB know its page, if nothing has to be noted for that. T2 is 0 if it was
    /// not possible; T1 and RFLAGS are lost, and what the exit would tell is kept.
    /// </summary>
    private byte* EmitSearch(SecondLevelSearch secondLevel, AddressSpace space, bool write)
    {
        byte* search = _e.Here;
        secondLevel.Emit(space, write);
        _e.Rr(0x31, T2, T2, wide: false);       // xor
        _e.Byte(0xC3);

        byte* start = _e.Here;
        _e.Rm(0xFF, 6, State, StateOffset.ExitInfo, wide: false); // push
        _e.StoreStateImm32(StateOffset.ExitInfo, 1); // one byte
        _e.Call(search);
        _e.Rm(0x8F, 0, State, StateOffset.ExitInfo, wide: false); // pop
        _e.Byte(0xC3);
        return start;
    }

    /// <summary>T2 = host address of the page.</summary>
    private void EmitRoom() => _e.TlbField(0x8B, T2, _tlb, T2, NativeTlbEntry.HostPageOffset);

    /// <summary>The register, an offset in a page, becomes the bytes from there to the page's end.</summary>
    private void EmitRoomOf(int register)
    {
        _e.Rr(0xF7, 3, register);               // neg
        _e.Rr(0x81, 0, register);               // add
        _e.Dword(PageSize);
    }

    /// <summary>RDX = bytes that may be done now; RCX becomes the elements to do now, RDX those that remain.</summary>
    private void EmitCount(byte* crossing)
    {
        if (_shift != 0)
        {
            _e.Rr(0xC1, 5, Rdx);                // shr
            _e.Byte(_shift);
            _e.Jcc(EqualCondition, crossing);
        }

        _e.Rr(0x39, Rcx, Rdx);                  // cmp rdx, rcx
        _e.Rr(0x0F47, Rdx, Rcx);                // cmova rdx, rcx
        _e.Rr(0x29, Rdx, Rcx);                  // sub rcx, rdx
        _e.Rr(0x87, Rdx, Rcx);                  // xchg
    }

    private void EmitRep(int byteOpcode)
    {
        if (_shift == 1)
        {
            _e.Byte(0x66);
        }

        _e.Byte(0xF3);
        if (_shift == 3)
        {
            _e.Byte(0x48);
        }

        _e.Byte(_shift == 0 ? byteOpcode : byteOpcode + 1);
    }
}
