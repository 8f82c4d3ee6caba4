using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>
/// REP STOS and REP MOVS of 64-bit code in their usual case: forward, within one page, and the TLB knows the pages. The
/// host's own instruction does the work; everything else leaves for the emulation.
/// </summary>
internal sealed unsafe class StringThunks
{
    private const int Sizes = 4;
    private const int PageSize = 4096;
    private const int JnzCondition = 5;
    private const int JaCondition = 7;
    private const int DirectionFlag = (int)(RflagsBits.Df >> 8);

    private readonly Emitter _e;
    private readonly byte* _trap;
    private readonly nint[] _stos;
    private readonly nint[] _movs;
    private int _tlb;
    private int _shift;
    private byte* _refused;

    /// <param name="emitter">Where to emit.</param>
    /// <param name="trap">Exits as a trapped instruction does.</param>
    /// <param name="spaces">How many <see cref="AddressSpace"/>s there are.</param>
    public StringThunks(Emitter emitter, byte* trap, int spaces)
    {
        _e = emitter;
        _trap = trap;
        _stos = new nint[spaces * Sizes];
        _movs = new nint[spaces * Sizes];
        for (int i = 0; i < _stos.Length; i++)
        {
            _tlb = StateOffset.Tlb((AddressSpace)(i / Sizes));
            _shift = i % Sizes;
            _refused = EmitRefused();
            _stos[i] = (nint)EmitStos();
            _movs[i] = (nint)EmitMovs();
        }
    }

    /// <summary>
    /// Called with S-&gt;Rip and S-&gt;ExitInfo set as for a trap: does the whole REP STOS and returns, or exits to have it
    /// emulated. Changes no register but those of the instruction, T1 and T2.
    /// </summary>
    /// <param name="space">Whose TLB to ask.</param>
    /// <param name="shift">Element size as a power of two, 0-3.</param>
    public byte* Stos(AddressSpace space, int shift) => (byte*)_stos[((int)space * Sizes) + shift];

    /// <summary>As <see cref="Stos"/>, for REP MOVS.</summary>
    public byte* Movs(AddressSpace space, int shift) => (byte*)_movs[((int)space * Sizes) + shift];

    private byte* EmitRefused()
    {
        byte* start = _e.Here;
        _e.Byte(0x9D);                          // popfq
        _e.Bytes([0x48, 0x8D, 0x64, 0x24, 0x08]); // lea rsp, [rsp+8]: drop the return address
        _e.Jmp(_trap);
        return start;
    }

    private byte* EmitStos()
    {
        byte* start = _e.Here;
        EmitBegin();
        EmitLookUp(Rdi, write: true, _refused);
        _e.Byte(0x57);                          // push rdi
        byte* tooLong = EmitHostAddress(Rdi);
        EmitRep(0xAA);
        EmitTlb(0x2B, Rdi, 2);                  // sub rdi, [host page]
        _e.Rr(0x29, T1, Rdi);                   // sub rdi, T1: bytes done
        _e.Bytes([0x41, 0x5E]);                 // pop T1
        _e.Rr(0x01, T1, Rdi);
        _e.Byte(0x9D);                          // popfq
        _e.Byte(0xC3);

        _e.Land(tooLong);
        _e.Byte(0x5F);                          // pop rdi
        _e.Jmp(_refused);
        return start;
    }

    private byte* EmitMovs()
    {
        byte* start = _e.Here;
        EmitBegin();
        EmitLookUp(Rdi, write: true, _refused);
        _e.Byte(0x57);                          // push rdi
        _e.Byte(0x56);                          // push rsi
        byte* tooLong = EmitHostAddress(Rdi);
        byte* miss = EmitLookUp(Rsi, write: false, null);
        byte* sourceTooLong = EmitHostAddress(Rsi);
        _e.MovRr(T1, Rsi);
        EmitRep(0xA4);
        _e.Rr(0x29, T1, Rsi);                   // sub rsi, T1: bytes done
        _e.MovRr(T1, Rsi);
        _e.Bytes([0x41, 0x5D]);                 // pop T2
        _e.Rx(0x8D, Rsi, T1, T2, 0, 0);
        _e.Bytes([0x41, 0x5D]);
        _e.Rx(0x8D, Rdi, T1, T2, 0, 0);
        _e.Byte(0x9D);                          // popfq
        _e.Byte(0xC3);

        _e.Land(tooLong);
        _e.Land(miss);
        _e.Land(sourceTooLong);
        _e.Byte(0x5E);                          // pop rsi
        _e.Byte(0x5F);                          // pop rdi
        _e.Jmp(_refused);
        return start;
    }

    private void EmitBegin()
    {
        _e.Byte(0x9C);                          // pushfq
        _e.Rm(0xF6, 0, State, StateOffset.SystemFlags + 1, wide: false); // test
        _e.Byte(DirectionFlag);
        _e.Jcc(JnzCondition, _refused);
        _e.Rr(0x81, 7, Rcx);                    // cmp rcx, elements of a page
        _e.Dword(PageSize >> _shift);
        _e.Jcc(JaCondition, _refused);
    }

    /// <summary>T2 = TLB index, T1 = offset in the page; on a miss goes to a known place, or one to be landed.</summary>
    private byte* EmitLookUp(int address, bool write, byte* miss)
    {
        _e.Bits(T2, address, 12, NativeTlb.Entries - 1);
        _e.MovRr(T1, address);
        EmitTlb(0x33, T1, write ? 1 : 0);       // xor T1, [tag]
        _e.Rr(0x81, 7, T1);                     // cmp
        _e.Dword(PageSize - 1);
        if (miss == null)
        {
            return _e.JumpForward(JaCondition);
        }

        _e.Jcc(JaCondition, miss);
        return null;
    }

    /// <summary>The register = host address of the offset in T1. Returns the jump for a run that leaves the page; the register is lost then.</summary>
    private byte* EmitHostAddress(int register)
    {
        _e.Rx(0x8D, register, T1, Rcx, _shift, 0);
        _e.Rr(0x81, 7, register);               // cmp: the end
        _e.Dword(PageSize);
        byte* tooLong = _e.JumpForward(JaCondition);
        _e.MovRr(register, T1);
        EmitTlb(0x03, register, 2);             // add: host page
        return tooLong;
    }

    /// <summary>An operation with entry T2 of one of the TLB's arrays: 0 = read tags, 1 = write tags, 2 = host pages.</summary>
    private void EmitTlb(int opcode, int register, int array)
        => _e.Rx(opcode, register, State, T2, 3, _tlb + (array * 8 * NativeTlb.Entries));

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
