using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Iced.Intel;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Decode;
using Vivarium.Engine.Software.Persisted;
using Vivarium.Engine.Software.Privileged;
using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

/// <summary>Guest code to be translated: where it stands for the guest, and its bytes.</summary>
internal readonly unsafe struct CodeSource
{
    public required ulong Rip { get; init; }

    /// <summary>Linear address of the first byte.</summary>
    public required ulong Linear { get; init; }

    public required ulong Gpa { get; init; }

    public required byte* Bytes { get; init; }

    /// <summary>Bytes up to the end of the page; for an instruction that crosses it, up to 15 bytes of both pages.</summary>
    public required int Length { get; init; }

    /// <summary>As in <see cref="BlockKey"/>.</summary>
    public required uint CodeLimit { get; init; }

    /// <summary>GPA of the second page, for an instruction that crosses pages; else <see cref="Block.NoPage"/>.</summary>
    public ulong SecondPage { get; init; }

    /// <summary>The translation is to check itself (<see cref="Block.ChecksItself"/>); there is no second page then.</summary>
    public bool ChecksItself { get; init; }

    /// <summary>The code is known to be a loop that runs long.</summary>
    public bool IsLoop { get; init; }

    /// <summary>With a second page: where the two parts of <see cref="Bytes"/> stand in the host.</summary>
    public byte* FirstPart { get; init; }
    public byte* SecondPart { get; init; }
    public int FirstLength { get; init; }

    /// <summary>Reads the parts of an instruction that crosses pages again, now that writes to them are seen.</summary>
    public void Refresh()
    {
        if (SecondPage != Block.NoPage)
        {
            new ReadOnlySpan<byte>(FirstPart, FirstLength).CopyTo(new Span<byte>(Bytes, FirstLength));
            new ReadOnlySpan<byte>(SecondPart, Length - FirstLength).CopyTo(new Span<byte>(Bytes + FirstLength, Length - FirstLength));
        }
    }
}

/// <summary>
/// Turns a basic block of guest code into host code. This file: the block as a whole and ordinary instructions; beside
/// it, one file each for memory operands, control flow, the stack and instructions that need more than re-encoding.
/// </summary>
internal sealed unsafe partial class Translator
{
    /// <summary>Most guest instructions in a block.</summary>
    private const int MaxInstructions = 64;

    /// <summary>Most conditional jumps that a block goes on behind. What stands behind more of them is often translated for nothing.</summary>
    private const int MostSideExits = 8;

    /// <summary>More than any block's translation takes.</summary>
    private const int MaxBlockBytes = 60 << 10;

    private readonly Emitter _e;
    private readonly TranslationCache _cache;
    private readonly Thunks _thunks;
    private readonly InstructionEncoder _encoder;
    private readonly GuestCode _guest;

    /// <summary>As <see cref="Block.Map"/>: the offset in the translation in the lower half of each.</summary>
    private uint[] _map = new uint[MaxInstructions * 2];
    private int _mapCount;
    private readonly List<ColdPart> _cold = [];
    private readonly List<ushort> _stubs = [];
    private readonly List<(ushort Offset, FlagRecipe Recipe)> _recipes = [];
    private readonly BlockRecords _records;

    private CodeSource _source;
    private BlockMode _mode;

    /// <summary>The block is one for <see cref="BlockMode.Apart"/>.</summary>
    private bool _apart;
    private byte* _blockCode;

    /// <summary>RIP of the instruction being translated, and of the next.</summary>
    private ulong _rip;
    private ulong _nextRip;
    private bool _extendedChecked;

    /// <summary>The instruction being translated, as an index into the decoded ones.</summary>
    private int _index;
    private bool _ended;

    /// <summary>A conditional jump has left the block that goes on behind it.</summary>
    private bool _hasSideExits;

    public Translator(Emitter emitter, TranslationCache cache, Thunks thunks, BlockRecords records, InstructionForms forms, EngineOptions options)
    {
        Options = options;
        _guest = new GuestCode(forms, quick: options.Has(Optimizations.QuickDecoder));
        _records = records;
        _e = emitter;
        _cache = cache;
        _thunks = thunks;
        _encoder = new InstructionEncoder(emitter);
    }

    /// <summary>Trapped instructions, by the index that their exits carry. Cleared with the cache.</summary>
    public TrapTable Traps { get; } = new();

    /// <summary>Jumps that are linked while others execute them are aligned, so that they change at once (SDM vol. 3A, 9.1.1).</summary>
    public bool AlignJumps { get; init; }

    public required CpuModel Model { get; init; }

    public EngineOptions Options { get; }

    /// <summary>RIPs at which translations, but not careful ones, leave for the run loop: a debugger's breakpoints.</summary>
    public HashSet<ulong> Stops { get; } = [];

    public long InstructionCount { get; private set; }

    /// <summary>The mode in which the last block's jumps go to their targets.</summary>
    public BlockMode LastMode { get; private set; }

    private bool Careful => (_mode & BlockMode.Careful) != 0;

    private int CodeBits => _mode.CodeBits();

    /// <summary>True if the cache may be too full for another block.</summary>
    public bool NeedsRoom => _cache.Free < MaxBlockBytes * 2;

    /// <summary>Translates one block; none if the first instruction needs bytes beyond <see cref="CodeSource.Length"/>.</summary>
    public Block Translate(in CodeSource source, BlockMode mode)
    {
        _source = source;
        _mode = mode & ~BlockMode.Apart;
        _apart = mode != _mode;
        _mapCount = 0;
        _cold.Clear();
        _stubs.Clear();
        _mismatches.Clear();
        _recipes.Clear();
        _runEnd = 0;
        _movedStack = 0;
        ForgetKnownStack();
        (_heldInT1, _heldInT2, _newInT1, _newInT2) = (NothingHeld, NothingHeld, false, false);
        _extendedChecked = false;
        _ended = false;
        _hasSideExits = false;
        _flags = FlagsAt.Host;
        _accessCount = 0;
        _usesRecipes = source.IsLoop || UsesRecipes;
        _makesRuns = MakesRuns;
        _holdsRegisters = HoldsRegisters;
        _blockCode = _cache.Next;
        _e.Start(_cache.ToWritable(_blockCode), _blockCode);
        _e.Relocations.Start(source.Rip, CodeBits == 64 && source.SecondPage == Block.NoPage && !source.ChecksItself && !source.IsLoop && !_apart && Options.Has(Optimizations.Relocation));
        _e.FloatsFrom(Floating ? source.Linear & ~GuestMemory.PageMask : null);
        if (Floating)
        {
            EmitLanding();
        }

        int limit = Careful || source.SecondPage != Block.NoPage ? 1 : MaxInstructions;
        _secondRound = false;
        _loopPages.Clear();
        _recipe = default;
        if (source.IsLoop ? !DecodeLoop() : !Decode(limit))
        {
            return default;
        }

        if (source.ChecksItself)
        {
            EmitSelfCheck();
        }

        if (source.IsLoop)
        {
            FindWindows();
            EmitOpenWindows();
        }

        int length = 0;
        _rip = source.Rip;
        for (_index = 0; !_ended; _index++)
        {
            BeginOrEndRun();
            if (_ended)
            {
                break;
            }

            if (_index == _guest.Count || EndsBefore(_index))
            {
                ForgetHeld();
                EmitJump(_rip);
                break;
            }

            ref readonly GuestInstruction next = ref _guest[_index];
            length = next.End;
            Mark(_rip);
            _nextRip = next.NextRip;
            if (Stops.Count != 0 && !Careful && StopsAt(_rip))
            {
                EmitExit(ExitCode.DebugStop);
            }
            else
            {
                if (source.IsLoop)
                {
                    EmitInLoop(next);
                }
                else
                {
                    EmitTracked(next);
                }
            }

            _rip = _nextRip;
        }

        int count = _index;
        _runEnd = 0;
        foreach (ref readonly ColdPart part in CollectionsMarshal.AsSpan(_cold))
        {
            EmitCold(part);
        }

        LastMode = _mode;
        _mode = mode;
        EmitMismatch();
        InstructionCount += count;
        return Block.Create(_records, BlockKey.Of(source, mode), _blockCode, Record(length), source.SecondPage, source.ChecksItself, source.IsLoop, CollectionsMarshal.AsSpan(_recipes));
    }

    /// <summary>How long the code of <see cref="EmitLanding"/> is.</summary>
    public const int LandingBytes = 15;

    private bool Floating => (_mode & BlockMode.Floating) != 0;

    /// <summary>Where the block is entered from elsewhere, with its RIP in S->Rip: the page's place becomes known. Keeps flags.</summary>
    private void EmitLanding()
    {
        _e.LoadState(T1, StateOffset.Rip);
        _e.LeaFar(T1, T1, -(int)(_source.Rip & GuestMemory.PageMask));
        _e.StoreState(StateOffset.CodePage, T1);
        if (_e.Here - _blockCode != LandingBytes)
        {
            throw new InvalidOperationException("jumps within the page would come in elsewhere");
        }
    }

    /// <summary>A debugger wants to stop at an instruction, or might somewhere that the block serves too.</summary>
    private bool StopsAt(ulong rip)
    {
        if (!Floating)
        {
            return Stops.Contains(rip);
        }

        foreach (ulong stop in Stops)
        {
            if (((stop ^ rip) & GuestMemory.PageMask) == 0)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Notes what is to be known of the block later.</summary>
    private BlockRecord* Record(int guestLength)
    {
        Relocations relocations = _e.Relocations;
        var header = new BlockRecord
        {
            Mode = _mode,
            PageOffset = (ushort)(_source.Gpa & GuestMemory.PageMask),
            Flags = (Careful && IsLocked(_guest[0].Instruction) ? RecordFlags.Locked : 0) | (relocations.Complete ? RecordFlags.Movable : 0) | (relocations.Short ? RecordFlags.Short : 0)
                | (relocations.FirstMasked >= 0 ? RecordFlags.Masked : 0),
            GuestLength = (ushort)guestLength,
            DecodedLength = (ushort)_guest[_guest.Count - 1].End,
            CodeLength = (ushort)(_e.Here - _blockCode),
            RelocationCount = (ushort)(relocations.Complete ? relocations.Fields.Length : 0),
            MapCount = (ushort)(_mapCount * 2),
            StubCount = (ushort)_stubs.Count,
            Lowest = relocations.Lowest,
            Highest = relocations.Highest,
        };
        header.Size = (uint)header.Measure();
        var record = (BlockRecord*)_records.Allocate((int)header.Size);
        *record = header;
        if (relocations.Complete)
        {
            new Span<ulong>(BlockRecord.GuestOf(record), header.GuestWords).Clear();
            new ReadOnlySpan<byte>(_guest[0].Bytes, header.DecodedLength).CopyTo(new Span<byte>(BlockRecord.GuestBytesOf(record), header.DecodedLength));
            record->Key = TemplateKey.Of(record, relocations.FirstMasked);
            relocations.Fields.CopyTo(new Span<Relocation>(BlockRecord.RelocationsOf(record), header.RelocationCount));
        }

        MemoryMarshal.Cast<uint, ushort>(_map.AsSpan(0, _mapCount)).CopyTo(new Span<ushort>(BlockRecord.MapOf(record), header.MapCount));
        CollectionsMarshal.AsSpan(_stubs).CopyTo(new Span<ushort>(BlockRecord.StubsOf(record), header.StubCount));
        return record;
    }

    /// <summary>
    /// Decodes instructions until one that surely ends the block (translation may end it earlier). False if the first
    /// needs bytes beyond <see cref="CodeSource.Length"/>.
    /// </summary>
    private bool Decode(int limit)
    {
        int sideExits = 0;
        _guest.Start(CodeBits, _source.Rip, _source.Bytes, _source.Length);
        while (_guest.Count < limit && _guest.TryDecode())
        {
            ref readonly GuestInstruction last = ref _guest[_guest.Count - 1];
            if (last.Is(FormKinds.Jumps))
            {
                if (sideExits < MostSideExits && MayBeSideExit(last))
                {
                    sideExits++;
                    continue;
                }

                break;
            }

            if (last.Form.Offering == Offering.Undefined || (_source.ChecksItself && EndsSelfCheck(last)))
            {
                break;
            }
        }

        return _guest.Count != 0;
    }

    /// <summary>A conditional jump forward in the page, behind which the block may go on.</summary>
    private bool MayBeSideExit(in GuestInstruction guest)
        => guest.Is(FormKinds.Jcc) && CodeBits == 64 && guest.Instruction.NearBranchTarget > guest.Rip && InPage(guest.Instruction.NearBranchTarget)
            && !_source.ChecksItself && Options.Has(Optimizations.LongBlocks);

    /// <summary>All jumps of a block lead to blocks of one mode: what changes it ends one that has jumps already.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool EndsBefore(int index)
        => _hasSideExits && index < _guest.Count && _guest[index].Form.Mnemonic is Mnemonic.Stac or Mnemonic.Clac;

    private static bool IsLocked(in Instruction instruction)
        => instruction.HasLockPrefix || (instruction.Mnemonic == Mnemonic.Xchg && instruction.Op0Kind == OpKind.Memory);

    /// <summary>An instruction, and what it makes of the flags.</summary>
    private void EmitTracked(in GuestInstruction guest)
    {
        NeedFlagsIfRefused(guest);
        if (!_usesRecipes)
        {
            EmitInstruction(guest);
            return;
        }

        _shiftRecipe = guest.Is(FormKinds.ConstantShift) ? PutShiftedAside(guest) : default;
        EmitInstruction(guest);
        if (!_ended)
        {
            TrackRecipe(guest);
        }
    }

    private void EmitInstruction(in GuestInstruction guest)
    {
        ref readonly Instruction instruction = ref guest.Instruction;
        InstructionForm form = guest.Form;
        ForgetHeldIfLost(guest);
        if (form.Offering != Offering.Offered)
        {
            if (form.Offering == Offering.Undefined)
            {
                // The decoder gives up after the most bytes that an instruction may have.
                EmitExit(guest.Length < GuestCode.MaxInstructionBytes ? ExitCode.InvalidOpcode : ExitCode.TooLong);
            }

            return;
        }

        CodeTraits traits = form.Traits;
        if (traits.Extended != ExtendedKind.None && !EmitExtendedCheck(traits.Extended, form.Memory >= 0))
        {
            return;
        }

        if (form.Is(FormKinds.Emulated))
        {
            if (form.Mnemonic is Mnemonic.Rdtsc or Mnemonic.Rdtscp && (_mode & BlockMode.Rdtsc) != 0)
            {
                EmitRdtsc(form.Mnemonic == Mnemonic.Rdtscp);
            }
            else if (!EmitPrivileged(instruction))
            {
                EmitTrap(instruction);
            }

            return;
        }

        if (_source.ChecksItself && EmitWithFreshConstant(guest))
        {
            return;
        }

        if ((form.Is(FormKinds.Jumps) && EmitControlFlow(instruction))
            || (form.Is(FormKinds.Special) && (EmitStackOperation(instruction) || EmitSpecial(instruction))))
        {
            return;
        }

        if (CodeBits != 16 && CanCopy(guest))
        {
            BeforeInstruction(instruction, traits.Flags, InRun ? T1 : T2);
            _e.Copy(guest.Bytes, guest.Length);
            NoteImmediate(guest);
            AfterInstruction(traits.Flags);
            return;
        }

        if (form.RegisterField != RegisterField.Unknown && CodeBits == 64 && !guest.HasHighByte)
        {
            if (form.Memory >= 0)
            {
                EmitWithMemory(guest);
                return;
            }

            if ((guest.Named & StateRegisters) == 0)
            {
                BeforeInstruction(instruction, traits.Flags, InRun ? T1 : T2);
                InstructionRewriter.WithRegisters(_e, guest.Code, form.RegisterField == RegisterField.General);
                NoteImmediate(guest);
                AfterInstruction(traits.Flags);
                return;
            }
        }

        EmitRenamed(guest);
    }

    /// <summary>An instruction of the common ones with a memory operand, and a register beside it or none.</summary>
    private void EmitWithMemory(in GuestInstruction guest)
    {
        ref readonly Instruction instruction = ref guest.Instruction;
        InstructionForm form = guest.Form;
        CodeTraits traits = form.Traits;
        FlagsAt before = _flags;
        HostOperand operand = EmitMemory(instruction, form.MemorySize, traits.ReadsMemory, traits.WritesMemory, Rules(instruction, traits));
        if (NeedsScratch(guest))
        {
            operand = Collapse(operand);
        }

        int free = operand.FreeScratch;
        BeforeInstruction(instruction, traits.Flags, free);
        MarkIfRefused(guest, before);

        Scratches scratches = default;
        int register = InstructionRewriter.Same;
        if ((guest.Named & MovedRegisters) != 0)
        {
            // What is not in the register field is RAX or CL.
            int number = System.Numerics.BitOperations.Log2((uint)(guest.Named & MovedRegisters));
            register = Of(number);
            if (register < 0)
            {
                register = EmitScratch(ref scratches, number, instruction, free, -1, Reads(instruction, number, traits), guest.Writes(number));
            }
        }

        InstructionRewriter.WithMemory(_e, guest.Code, register, operand);
        NoteImmediate(guest);
        AfterInstruction(traits.Flags);
        EmitStoreScratches(scratches);
        if (traits.WritesMemory)
        {
            EmitCommit();
        }
    }

    /// <summary>
    /// The host instruction just written ends, as the guest's does, with a sign-extended immediate. Nothing else depends on it,
    /// so that one translation serves whatever it is.
    /// </summary>
    private void NoteImmediate(in GuestInstruction guest)
    {
        if (IsMovableImmediate(guest))
        {
            _e.NoteImmediate(guest.End - sizeof(int));
        }
    }

    private static bool IsMovableImmediate(in GuestInstruction guest)
        => guest.Is(FormKinds.ExtendsImmediate) && Relocations.MayBeKernelAddress(guest.Instruction.GetImmediate(1));

    /// <summary>True if the guest's bytes can run as they are: no memory, and only registers that have their own places.</summary>
    private static bool CanCopy(in GuestInstruction guest) => guest.Is(FormKinds.Registers) && (guest.Named & MovedRegisters) == 0;

    /// <summary>Number of a general register in the guest's encoding; AH-BH count as AL-BL.</summary>
    private static int GuestNumber(Register register) => GeneralRegister.NumberOf(register);

    private static int OfGuest(Register register) => Of(GuestNumber(register));

    /// <summary>The register of the same width with another number.</summary>
    private static Register Renumber(Register register, int number) => register.GetSize() switch
    {
        1 => number < 4 ? Register.AL + number : Register.SPL + (number - 4),
        2 => Register.AX + number,
        4 => Register.EAX + number,
        _ => Register.RAX + number,
    };

    private void EmitRenamed(in GuestInstruction guestInstruction)
    {
        ref readonly Instruction original = ref guestInstruction.Instruction;
        CodeTraits traits = guestInstruction.Form.Traits;
        Instruction instruction = original;
        instruction.SegmentPrefix = Register.None;
        ToLongModeForm(ref instruction);

        FlagsAt before = _flags;
        HostOperand operand = default;
        int memory = guestInstruction.Form.Memory;
        int taken = memory < 0 ? TakeFromState(ref instruction, traits) : -1;

        Register highByte = HighByte(instruction);
        bool scratchForHighByte = memory >= 0 && highByte != Register.None && UsesScratchForHighByte(instruction);
        if (memory >= 0)
        {
            if (Careful && IsMasked(original))
            {
                EmitTrapIndex(AddTrap(original), _rip);
            }

            bool environment = original.Mnemonic is Mnemonic.Fnstenv or Mnemonic.Fnsave;
            operand = EmitMemory(original, instruction.MemorySize.GetSize(), traits.ReadsMemory, traits.WritesMemory, Rules(original, traits),
                direct: highByte == Register.None && !environment);
            if (environment || scratchForHighByte || NeedsScratch(guestInstruction))
            {
                operand = Collapse(operand);
            }
        }

        // Registers free for operands: one beside a memory operand, else two.
        int free = memory < 0 ? (InRun ? T1 : T2) : operand.FreeScratch;
        BeforeInstruction(original, traits.Flags, free);
        MarkIfRefused(guestInstruction, before);

        // R12-R15 of the guest come from the state block into scratch registers where read, and go back where written.
        Scratches scratches = default;
        bool rex = memory >= 0;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) != OpKind.Register)
            {
                continue;
            }

            Register register = instruction.GetOpRegister(i);
            if (!register.IsGPR() || GeneralRegister.IsHighByte(register))
            {
                continue;
            }

            int guest = GuestNumber(register);
            int host = Of(guest);
            if (host < 0)
            {
                host = EmitScratch(ref scratches, guest, original, free, memory < 0 && !InRun ? T1 : -1, Reads(instruction, guest, traits), traits.Writes(i));
            }

            if (host != guest)
            {
                instruction.SetOpRegister(i, Renumber(register, host));
                rex = true;
            }
        }

        if (memory >= 0)
        {
            Redirect(ref instruction, operand);
        }

        bool swapped = rex && highByte != Register.None;
        if (swapped)
        {
            EmitHighByte(ref instruction, highByte);
        }

        if (!_encoder.TryEncode(instruction))
        {
            EmitTrap(original);
            return;
        }

        NoteImmediate(guestInstruction);
        AfterInstruction(traits.Flags);
        if (swapped && !UsesScratchForHighByte(original))
        {
            EmitSwapHighByte(highByte);
        }

        EmitStoreScratches(scratches);
        if (taken >= 0 && HeldIn(taken) is >= 0 and int stale)
        {
            // It has been read from there too.
            Release(stale);
        }

        if (original.Mnemonic is Mnemonic.Fnstenv or Mnemonic.Fnsave)
        {
            EmitClearX87Pointers(original);
        }

        if (memory >= 0 && traits.WritesMemory)
        {
            EmitCommit();
        }
    }

    private static AccessRules Rules(in Instruction instruction, CodeTraits traits)
        => (IsMasked(instruction) ? AccessRules.Masked : 0) | (traits.Waiting ? AccessRules.Waiting : 0)
            | (traits.Aligned && instruction.MemorySize.GetSize() >= 16 ? AccessRules.Aligned : 0);

    /// <summary>A vector instruction that accesses only the elements its mask selects.</summary>
    private static bool IsMasked(in Instruction instruction)
        => instruction.OpMask != Register.None
            || instruction.Mnemonic is Mnemonic.Vmaskmovps or Mnemonic.Vmaskmovpd or Mnemonic.Vpmaskmovd or Mnemonic.Vpmaskmovq;

    /// <summary>Which guest registers of one instruction stand in which scratch registers.</summary>
    [InlineArray(3)]
    private struct Scratches
    {
        private (int Guest, int Host, bool Written, bool Used) _first;
    }

    /// <summary>An operand is a guest register, and counts for what the instruction does, or for what stays in it.</summary>
    private static bool Reads(in Instruction instruction, int guest, CodeTraits traits)
    {
        if (ReadsNothing(instruction) && instruction.Op0Register.GetSize() >= sizeof(uint))
        {
            return false;
        }

        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i) is var register && register.IsGPR() && GuestNumber(register) == guest
                && (!traits.Overwrites(i) || register.GetSize() < sizeof(uint)))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// A scratch register for a guest register that has no place of its own. Two scratch registers are free, or one beside a memory
    /// operand; an instruction that needs one more (BMI forms only, which read all operands before they write)
    /// borrows a register that it does not name.
    /// </summary>
    /// <param name="first">A free scratch register.</param>
    /// <param name="second">Another, or -1.</param>
    /// <param name="read">The instruction wants what it holds.</param>
    /// <param name="written">The operand is written.</param>
    private int EmitScratch(ref Scratches scratches, int guest, in Instruction original, int first, int second, bool read, bool written)
    {
        int i = 0;
        for (; scratches[i].Used; i++)
        {
            if (scratches[i].Guest == guest)
            {
                scratches[i].Written |= written;
                return scratches[i].Host;
            }
        }

        int host = HeldIn(guest);
        if (host < 0)
        {
            host = i == 0 ? (second >= 0 && !IsFreeOfHeld(first) && IsFreeOfHeld(second) ? second : first)
                : i == 1 && second >= 0 ? (scratches[0].Host == first ? second : first)
                : Borrowable(original);
            if (host < T2)
            {
                _e.StoreState(StateOffset.Scratch, host);
            }
            else
            {
                Release(host);
            }

            if (read)
            {
                _e.LoadState(host, StateOffset.Gpr(guest));
            }
        }

        scratches[i] = (guest, host, written, true);
        return host;
    }

    private void EmitStoreScratches(Scratches scratches)
    {
        foreach ((int guest, int host, bool written, bool used) in scratches)
        {
            if (!used)
            {
                return;
            }

            if (_holdsRegisters && host >= T2)
            {
                Hold(host, guest, written);
                continue;
            }

            if (written)
            {
                _e.StoreState(StateOffset.Gpr(guest), host);
            }

            if (host < T2)
            {
                _e.LoadState(host, StateOffset.Scratch);
            }
        }
    }

    private static int Borrowable(in Instruction instruction)
    {
        ReadOnlySpan<int> candidates = [Rbx, Rsi, Rdi, Rbp];
        foreach (int candidate in candidates)
        {
            bool named = instruction.MemoryBase.IsGPR() && GuestNumber(instruction.MemoryBase) == candidate;
            for (int i = 0; i < instruction.OpCount; i++)
            {
                named |= instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i).IsGPR()
                    && GuestNumber(instruction.GetOpRegister(i)) == candidate;
            }

            if (!named)
            {
                return candidate;
            }
        }

        throw new InvalidOperationException("an instruction with five register operands");
    }

    /// <summary>AH-BH if the instruction names one, else none.</summary>
    private static Register HighByte(in Instruction instruction)
    {
        // No form has one behind its second operand.
        return instruction.Op0Kind == OpKind.Register && GeneralRegister.IsHighByte(instruction.Op0Register) ? instruction.Op0Register
            : instruction.Op1Kind == OpKind.Register && GeneralRegister.IsHighByte(instruction.Op1Register) ? instruction.Op1Register
            : Register.None;
    }

    /// <summary>Beside its memory operand the instruction needs a scratch register.</summary>
    private bool NeedsScratch(in GuestInstruction guest)
        => (guest.Named & StateRegisters) != 0 || (!FlagsInHost && MustHaveFlags(guest.Instruction, guest.Form.Traits.Flags));

    /// <summary>
    /// AH-BH cannot be named beside a REX prefix: the two low bytes change places around the instruction. CMPXCHG
    /// uses AL itself, so there the operand (a source) is copied to the scratch register instead.
    /// </summary>
    private void EmitHighByte(ref Instruction instruction, Register highByte)
    {
        EmitSwapHighByte(highByte);
        int low = highByte - Register.AH;
        Register replacement = Register.AL + low;
        if (UsesScratchForHighByte(instruction))
        {
            _e.MovRr(T2, low);
            EmitSwapHighByte(highByte);
            replacement = Register.R13L;
        }

        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (instruction.GetOpKind(i) == OpKind.Register && instruction.GetOpRegister(i) == highByte)
            {
                instruction.SetOpRegister(i, replacement);
            }
        }
    }

    private static bool UsesScratchForHighByte(in Instruction instruction) => instruction.Mnemonic == Mnemonic.Cmpxchg;

    private void EmitSwapHighByte(Register highByte)
    {
        int low = highByte - Register.AH;
        _e.Byte(0x86); // xchg
        _e.Byte(0xC0 | ((4 + low) << 3) | low);
    }

    /// <summary>Replaces encodings that 64-bit mode lacks by ones that it has.</summary>
    private static void ToLongModeForm(ref Instruction instruction)
    {
        instruction.Code = instruction.Code switch
        {
            Code.Inc_r16 => Code.Inc_rm16,
            Code.Inc_r32 => Code.Inc_rm32,
            Code.Dec_r16 => Code.Dec_rm16,
            Code.Dec_r32 => Code.Dec_rm32,
            Code.Mov_AL_moffs8 => Code.Mov_r8_rm8,
            Code.Mov_AX_moffs16 => Code.Mov_r16_rm16,
            Code.Mov_EAX_moffs32 => Code.Mov_r32_rm32,
            Code.Mov_RAX_moffs64 => Code.Mov_r64_rm64,
            Code.Mov_moffs8_AL => Code.Mov_rm8_r8,
            Code.Mov_moffs16_AX => Code.Mov_rm16_r16,
            Code.Mov_moffs32_EAX => Code.Mov_rm32_r32,
            Code.Mov_moffs64_RAX => Code.Mov_rm64_r64,
            Code.Add_rm8_imm8_82 => Code.Add_rm8_imm8,
            Code.Or_rm8_imm8_82 => Code.Or_rm8_imm8,
            Code.Adc_rm8_imm8_82 => Code.Adc_rm8_imm8,
            Code.Sbb_rm8_imm8_82 => Code.Sbb_rm8_imm8,
            Code.And_rm8_imm8_82 => Code.And_rm8_imm8,
            Code.Sub_rm8_imm8_82 => Code.Sub_rm8_imm8,
            Code.Xor_rm8_imm8_82 => Code.Xor_rm8_imm8,
            Code.Cmp_rm8_imm8_82 => Code.Cmp_rm8_imm8,
            _ => instruction.Code,
        };
    }

    /// <summary>
    /// Brings the extended state into the host's registers before the block's first instruction that needs it.
    /// False (and the block ended with #UD) if the mode forbids this kind.
    /// </summary>
    /// <param name="kind">What the instruction works on.</param>
    /// <param name="memory">It accesses memory, for the check of which the flags go anyway.</param>
    private bool EmitExtendedCheck(ExtendedKind kind, bool memory)
    {
        bool allowed = kind switch
        {
            ExtendedKind.X87 => true,
            ExtendedKind.Mmx => (_mode & BlockMode.Emulate) == 0,
            ExtendedKind.Sse => (_mode & BlockMode.Sse) != 0,
            ExtendedKind.Avx => (_mode & BlockMode.Avx) != 0,
            _ => (_mode & BlockMode.Avx512) != 0,
        };
        if (!allowed)
        {
            EmitExit(ExitCode.InvalidOpcode);
            return false;
        }

        if (_extendedChecked)
        {
            return true;
        }

        _extendedChecked = true;
        if (memory && !Careful && Options.Has(Optimizations.LazyFlags))
        {
            DestroyFlags(check: true);
            Mark(_rip);
        }

        if (!FlagsInHost)
        {
            _e.CmpStateImm8(StateOffset.ExtendedInMemory, 0);
            byte* load = _e.JumpForward(JnzCondition);
            _cold.Add(new ColdPart(ColdKind.LoadExtended, _rip, load, _e.Here, flags: _flags, recipe: _recipe));
            return true;
        }

        _e.MovRr(T1, Rcx);
        _e.LoadState(Rcx, StateOffset.ExtendedInMemory);
        byte* loaded = _e.ShortForward(0xE3);   // jrcxz
        byte* cold = _e.JumpForward(-1);
        _e.LandShort(loaded);
        _e.MovRr(Rcx, T1);
        _cold.Add(new ColdPart(ColdKind.LoadExtendedKeepingFlags, _rip, cold, _e.Here, flags: _flags));
        return true;
    }

    /// <summary>Ends the block: back to the run loop at the present instruction.</summary>
    private void EmitExit(ExitCode code)
    {
        ForgetHeld();
        NeedFlags();
        EmitExitAt(_rip, code);
        _ended = true;
    }

    private void EmitExitAt(ulong rip, ExitCode code)
    {
        _e.StoreStateRip(StateOffset.Rip, rip);
        EmitExitTail(code);
    }

    /// <summary>S-&gt;Rip is set.</summary>
    private void EmitExitTail(ExitCode code)
    {
        _e.Jmp(_thunks.ExitWith(code));
    }

    private void EmitTrap(in Instruction instruction)
    {
        ForgetHeld();
        NeedFlags();
        EmitTrapIndex(AddTrap(instruction), _rip);
        EmitExit(ExitCode.Trap);
    }

    /// <summary>Returns the index by which the run loop finds the instruction again.</summary>
    private int AddTrap(in Instruction instruction)
    {
        return Traps.Add(instruction);
    }

    /// <summary>S-&gt;ExitInfo = the index of the trapped instruction at a RIP.</summary>
    private void EmitTrapIndex(int index, ulong rip) => _e.StoreStateTrap(StateOffset.ExitInfo, index, (int)(rip - _source.Rip));

    private void Mark(ulong rip)
    {
        var at = (uint)(_e.Here - _blockCode);
        uint entry = at | ((uint)(rip - _source.Rip) << 16);
        if (!FlagsInHost)
        {
            entry |= (uint)WhereFlagsAre((ushort)at) << 16;
        }

        uint[] map = _map;
        if ((uint)_mapCount < (uint)map.Length)
        {
            map[_mapCount++] = entry;
        }
        else
        {
            GrowMap(entry);
        }
    }

    /// <summary>They are not in RFLAGS.</summary>
    private int WhereFlagsAre(ushort at)
    {
        if ((_flags & FlagsAt.Saved) != 0)
        {
            return Block.FlagsSaved;
        }

        if (!_source.IsLoop)
        {
            return 0;
        }

        _recipes.Add((at, _recipe));
        return Block.FlagsByRecipe;
    }

    private void GrowMap(uint entry)
    {
        Array.Resize(ref _map, _mapCount * 2);
        _map[_mapCount++] = entry;
    }
}
