using Iced.Intel;
using Vivarium.Engine.Software.Decode;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

// Instructions that need more than new names for their operands.
internal sealed unsafe partial class Translator
{
    /// <summary>Asked of <see cref="FormKinds.Special"/> ones only.</summary>
    private bool EmitSpecial(in Instruction instruction)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Lea:
                EmitLea(instruction);
                return true;
            case Mnemonic.Nop or Mnemonic.Reservednop
                or Mnemonic.Prefetchnta or Mnemonic.Prefetcht0 or Mnemonic.Prefetcht1 or Mnemonic.Prefetcht2:
                // No access, no fault, no effect.
                return true;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc
                when instruction.Op0Kind == OpKind.Memory && instruction.Op1Kind == OpKind.Register:
                EmitBitString(instruction);
                return true;
            default:
                return false;
        }
    }

    private void EmitLea(in Instruction instruction)
    {
        int size = instruction.Op0Register.GetSize();
        int guest = GuestNumber(instruction.Op0Register);
        int host = Of(guest);
        if (host >= 0 && size >= sizeof(uint))
        {
            EmitOffset(instruction, 0, host, narrow: size == sizeof(uint));
            return;
        }

        EmitOffset(instruction, 0, T1, narrow: size == sizeof(uint));
        EmitWriteGuest(guest, T1, size);
    }

    /// <summary>
    /// BT family with a register as bit offset into memory: the offset reaches beyond the operand (SDM, BT: the address
    /// is that of the operand-sized word that holds the bit), and the bit within it is what remains.
    /// </summary>
    private void EmitBitString(in Instruction instruction)
    {
        int size = instruction.Op1Register.GetSize();
        int guest = GuestNumber(instruction.Op1Register);
        EmitOffset(instruction, 0);
        DestroyFlags();
        EmitBitOffset(guest, size);
        _e.Rr(0xC1, 7, T2);                     // sar T2, 3
        _e.Byte(3);
        _e.Rr(0x83, 4, T2);                     // and T2, -size
        _e.Byte(-size);
        int addressSize = AddressSize(instruction);
        _e.Rx(0x8D, T1, T1, T2, 0, 0, wide: addressSize == 8);
        if (addressSize == 2)
        {
            _e.Rr(0x0FB7, T1, T1, wide: false);
        }

        bool write = instruction.Mnemonic != Mnemonic.Bt;
        HostOperand operand = Collapse(EmitAccess(SegmentOf(instruction), size, read: true, write));
        DestroyFlags();
        EmitBitOffset(guest, size);
        _e.Rr(0x83, 4, T2);                     // and T2, bits - 1
        _e.Byte((size * 8) - 1);

        // It changes CF only. Both scratch registers are taken.
        _e.StoreState(StateOffset.Scratch, T1);
        NeedFlags(T1);
        _e.LoadState(T1, StateOffset.Scratch);

        Instruction host = instruction;
        host.SegmentPrefix = Register.None;
        host.Op1Register = Renumber(instruction.Op1Register, T2);
        Redirect(ref host, operand);
        if (!_encoder.TryEncode(host))
        {
            EmitTrap(instruction);
            return;
        }

        AfterInstruction(FlagUse.Changes);
        if (write)
        {
            EmitCommit();
        }
    }

    /// <summary>T2 = the guest register, sign-extended.</summary>
    private void EmitBitOffset(int guest, int size)
    {
        int host = Of(guest);
        if (host < 0)
        {
            int offset = StateOffset.Gpr(guest);
            switch (size)
            {
                case 2:
                    _e.Rm(0x0FBF, T2, State, offset);
                    break;
                case 4:
                    _e.Rm(0x63, T2, State, offset);
                    break;
                default:
                    _e.LoadState(T2, offset);
                    break;
            }

            return;
        }

        switch (size)
        {
            case 2:
                _e.Rr(0x0FBF, T2, host);
                break;
            case 4:
                _e.Rr(0x63, T2, host);
                break;
            default:
                _e.MovRr(T2, host);
                break;
        }
    }

    private int AddressSize(in Instruction instruction)
    {
        Register register = instruction.MemoryBase != Register.None ? instruction.MemoryBase : instruction.MemoryIndex;
        return register != Register.None && register != Register.RIP && register != Register.EIP
            ? register.GetSize()
            : register == Register.EIP ? 4 : CodeBits == 64 ? 8 : instruction.MemoryDisplSize == 2 ? 2 : 4;
    }

    /// <summary>
    /// The guest's TSC is the host's plus an offset; flags are kept. RDTSCP waits for earlier instructions, which LFENCE
    /// makes RDTSC do (SDM vol. 2B, RDTSC), and gives the guest's own IA32_TSC_AUX, not the host's.
    /// </summary>
    private void EmitRdtsc(bool ordered)
    {
        if (ordered)
        {
            _e.Bytes([0x0F, 0xAE, 0xE8]);       // lfence
            _e.Load(Rcx, State, StateOffset.TscAux, wide: false);
        }

        _e.Bytes([0x0F, 0x31]);
        _e.Store(State, StateOffset.Scratch, Rax, wide: false);
        _e.Store(State, StateOffset.Scratch + 4, Rdx, wide: false);
        _e.LoadState(T1, StateOffset.Scratch);
        _e.LoadState(T2, StateOffset.TscOffset);
        _e.Rx(0x8D, T1, T1, T2, 0, 0);
        _e.StoreState(StateOffset.Scratch, T1);
        _e.Load(Rax, State, StateOffset.Scratch, wide: false);
        _e.Load(Rdx, State, StateOffset.Scratch + 4, wide: false);
    }

    /// <summary>
    /// FNSTENV and FNSAVE have stored where the host ran the last x87 instruction, which is no business of the guest's:
    /// the instruction and data pointers read as 0, as in FXSAVE images. (SDM vol. 1, figures 8-9 and 8-11.)
    /// </summary>
    private void EmitClearX87Pointers(in Instruction instruction)
    {
        bool wide = instruction.Code is Code.Fnstenv_m28byte or Code.Fnsave_m108byte;
        int size = wide ? 4 : 2;
        for (int i = 3; i < 7; i++)
        {
            // The fifth holds the last opcode above the selector in the wide form: only the selector goes.
            if (!wide || i == 4)
            {
                _e.Byte(0x66);
                _e.Rm(0xC7, 0, T1, i * size, wide: false);
                _e.Byte(0);
                _e.Byte(0);
            }
            else
            {
                _e.Rm(0xC7, 0, T1, i * size, wide: false);
                _e.Dword(0);
            }
        }
    }
}
