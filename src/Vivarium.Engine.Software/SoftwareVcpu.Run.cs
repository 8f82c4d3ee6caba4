using Iced.Intel;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Privileged;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

// The run loop: find the translation for RIP, enter it, do what its exit asks for.
internal sealed unsafe partial class SoftwareVcpu
{
    internal const int Spaces = 3;
    private const int MaxInstructionLength = 15;
    private const int RspIndex = 4;

    /// <summary>How many blocks are found without asking the machine's other vCPUs for the lock.</summary>
    private const int RecentBlocks = 16384;

    private readonly SharedCode _code;
    private readonly Block[] _recentBlocks = new Block[RecentBlocks];
    private readonly Rendezvous _rendezvous;
    private int _kicked;
    private int _nmiRequested;
    private int _unhaltRequested;
    private int _tlbFlushRequested;
    private bool _carefulNext;

    /// <summary>Not canonical, so no instruction of 64-bit code is there.</summary>
    private const ulong NoRip = 1ul << 63;

    /// <summary>RIP of the instruction before which a run was found not to lie in one page; or <see cref="NoRip"/>.</summary>
    private ulong _apartAt = NoRip;

    /// <summary>The translation that the exit handled last goes on to by a jump just linked, and all will from now on; or none.</summary>
    private Block _linked;
    private string? _internalError;

    /// <summary>What was counted when the careful translation was asked for that is about to run.</summary>
    private long _countedBeforeCareful;

    /// <summary>Not zero: the vCPU runs, as <see cref="Rendezvous"/> understands it, which alone writes it.</summary>
    internal int Running;

    /// <summary>Counts how often the run loop has seen <see cref="NativeState.ExitRequest"/>.</summary>
    internal long Passes;

    public void Run(out VmExit exit)
    {
        _times?.Enter(VcpuActivity.Monitor);
        _rendezvous.Enter(this);
        try
        {
            RunLoop(out exit);
        }
        finally
        {
            _rendezvous.Leave(this);
        }
    }

    private void RunLoop(out VmExit exit)
    {
        exit = default;
        while (true)
        {
            if (_chaos is { } chaos)
            {
                MakeTrouble(chaos);
            }

            if (Volatile.Read(ref S->ExitRequest) != 0)
            {
                Interlocked.Exchange(ref S->ExitRequest, 0);
                Interlocked.Increment(ref Passes);
                if (_rendezvous.Closed)
                {
                    _rendezvous.Leave(this);
                    _rendezvous.Enter(this);
                }

                _code.Reconsider(Environment.TickCount64);
                if (Interlocked.Exchange(ref _tlbFlushRequested, 0) != 0)
                {
                    FlushTlb(keepGlobal: false);
                }

                if (Interlocked.Exchange(ref _kicked, 0) != 0)
                {
                    Statistics.Count(ExitCause.Kick);
                    exit.Reason = ExitReason.Cancelled;
                    return;
                }
            }

            bool shadow = InterruptShadow;
            InterruptShadow = false;
            if (HasDeliverableEvent && !(_debug is { BlockInterrupts: true } && !Halted))
            {
                // An instruction to be run carefully may be the one after STI: nothing comes before it.
                if (shadow || _carefulNext)
                {
                    _carefulNext = true;
                }
                else
                {
                    DeliverPendingEvent();
                }
            }

            if (EndsRun(ref exit))
            {
                return;
            }

            if (_debug is null)
            {
                _ = Step();
            }
            else if (StepDebugged(ref exit))
            {
                return;
            }
        }
    }

    public void Kick()
    {
        Volatile.Write(ref _kicked, 1);
        S->RequestExit();
    }

    public void RequestInterrupt()
    {
        Volatile.Write(ref S->InterruptRequested, 1);
        S->RequestExit();
    }

    public void RequestNmi()
    {
        Volatile.Write(ref _nmiRequested, 1);
        S->RequestExit();
    }

    public void RequestUnhalt() => Volatile.Write(ref _unhaltRequested, 1);

    public void RequestTlbFlush()
    {
        Volatile.Write(ref _tlbFlushRequested, 1);
        S->RequestExit();
    }

    public ulong Tsc => GuestTsc;

    public ulong TscOffset
    {
        get => S->TscOffset;
        set => S->TscOffset = value;
    }

    public bool HasPendingEvent => HasDeliverableEvent || Volatile.Read(ref _unhaltRequested) != 0;

    private bool HasDeliverableEvent
        => (Volatile.Read(ref S->InterruptRequested) != 0 && S->SystemFlags.Has(RflagsBits.If))
            || (Volatile.Read(ref _nmiRequested) != 0 && !NmiBlocked);

    /// <summary>What the processor stops for, rather than run an instruction.</summary>
    private bool EndsRun(ref VmExit exit)
    {
        if (ShutdownPending)
        {
            exit.Reason = ExitReason.Shutdown;
        }
        else if (Halted && Interlocked.Exchange(ref _unhaltRequested, 0) != 0)
        {
            Halted = false;
        }
        else if (Halted)
        {
            Statistics.Halts++;
            _times?.Enter(VcpuActivity.Idle);
            exit.Reason = ExitReason.Halt;
        }
        else if (_internalError is not null)
        {
            exit.Reason = ExitReason.InternalError;
            exit.Detail = _internalError;
        }

        return exit.Reason != ExitReason.None;
    }

    private void DeliverPendingEvent()
    {
        if (Volatile.Read(ref _nmiRequested) != 0 && !NmiBlocked)
        {
            Volatile.Write(ref _nmiRequested, 0);
            Halted = false;
            Statistics.Count(ExitCause.Interrupt);
            TraceNmi();
            Deliver((int)Vector.Nmi, null, EventKind.Nmi);
            return;
        }

        int vector = Bus.AcknowledgeInterrupt();
        if (vector < 0)
        {
            // Asked again after it is cleared (with a barrier between), so that a request in between is not lost.
            Interlocked.Exchange(ref S->InterruptRequested, 0);
            vector = Bus.AcknowledgeInterrupt();
        }

        if (vector >= 0)
        {
            // There may be more: only an answer of none takes the request back.
            Volatile.Write(ref S->InterruptRequested, 1);
            Halted = false;
            Statistics.Count(ExitCause.Interrupt);
            Deliver(vector, null, EventKind.ExternalInterrupt);
        }
    }

    /// <summary>Returns true if an instruction has been completed, of those that the monitor sees.</summary>
    private bool Step()
    {
        bool stepping = Stepping;
        bool singleStep = stepping && S->SystemFlags.Has(RflagsBits.Tf);
        bool debugShadow = DebugShadow;
        DebugShadow = false;
        _entersHandler = false;
        if (!debugShadow)
        {
            // Those that an instruction met before it faulted.
            _breakpointsHit = 0;
            if (stepping && MeetsInstructionBreakpoint())
            {
                return false;
            }
        }

        // It was for this instruction only; a fault, or a repeated instruction that is not done, sets it again.
        S->SystemFlags &= ~RflagsBits.Rf;
        BlockMode mode = Mode;
        ulong apartAt = _apartAt;
        _apartAt = NoRip;
        _linked = default;
        bool careful = _carefulNext || stepping;
        if (careful)
        {
            mode |= BlockMode.Careful;
            _carefulNext = false;
        }

        if (careful)
        {
            if (FindBlock(mode) is not { Exists: true } block || !EnterCareful(block))
            {
                return false;
            }

            bool completed = HandleExit((ExitCode)S->ExitCode);
            if (stepping && completed)
            {
                FinishStep(singleStep);
            }

            return completed;
        }

        byte* code = apartAt == S->Rip ? FindApart(mode) : FindCode();
        return code != null && RunFrom(code);
    }

    /// <summary>Runs from a translation on until there is more to do than to link a jump. Returns what <see cref="Step"/> does.</summary>
    private bool RunFrom(byte* code)
    {
        while (true)
        {
            Statistics.DispatcherEntries++;
            EnterTranslated(code);
            bool completed = HandleExit((ExitCode)S->ExitCode);
            if (!_linked.Exists || Volatile.Read(ref S->ExitRequest) != 0 || HasDeliverableEvent || Stepping || _chaos is not null || _debug is not null)
            {
                return completed;
            }

            // Nobody but such jumps needs to find it as long as only they lead there.
            code = _linked.Code;
            _linked = default;
        }
    }

    /// <summary>
    /// Runs a careful translation. A locked instruction whose operand goes through the bounce buffer is atomic because
    /// no other vCPU runs meanwhile. False: the block was thrown away before it could run.
    /// </summary>
    private bool EnterCareful(Block block)
    {
        Statistics.DispatcherEntries++;
        if (!block.Locked || _rendezvous.Alone)
        {
            EnterTranslated(block.Code);
            return true;
        }

        int generation = _code.Generation;
        _rendezvous.BeginExclusive(this);
        try
        {
            if (generation != _code.Generation || !block.Valid)
            {
                _carefulNext = true;
                return false;
            }

            EnterTranslated(block.Code);
            return true;
        }
        finally
        {
            _rendezvous.EndExclusive(this);
        }
    }

    private void EnterTranslated(byte* code)
    {
        _times?.Enter(VcpuActivity.Guest);
        _code.Thunks.Enter(S, code);
        _times?.Enter(VcpuActivity.Monitor);
    }

    /// <summary>Returns true if the instruction at which translated code was left (or the only one) has been completed.</summary>
    private bool HandleExit(ExitCode code)
    {
        switch (code)
        {
            case ExitCode.Poll:
                S->Rip = PolledRip();
                NoteLoop();
                return true;
            case ExitCode.PollAtTarget:
                NoteLoop();
                return true;
            case ExitCode.Dispatch:
                Statistics.Count(ExitCause.Dispatch);
                return true;
            case ExitCode.Jump:
                Statistics.Count(ExitCause.Dispatch);
                return !RefuseJump();
            case ExitCode.CarefulDone:
                CountSlowAccess();
                return true;
            case ExitCode.DebugStop:
                // Not this vCPU's breakpoint, or it is looked for before the instruction.
                _code.ForgetStop(S->Rip);
                _carefulNext = true;
                _countedBeforeCareful = CountedInCareful;
                return false;
            case ExitCode.Link:
                _linked = Link(Mode);
                return true;
            case ExitCode.LinkApart:
                _ = Link(Mode | BlockMode.Apart);
                _apartAt = S->Rip;
                return true;
            case ExitCode.Trap:
                return Emulate();
            case ExitCode.Careful:
                _carefulNext = true;
                _countedBeforeCareful = CountedInCareful;
                return false;
            case ExitCode.Changed:
                _carefulNext = _code.DropChanged((byte*)S->ExitHostPc - 1) is { Exists: true } changed && (changed.Key.Mode & BlockMode.Careful) != 0;
                Statistics.BlocksInvalidated++;
                Statistics.Count(ExitCause.SelfModifyingCode);
                return false;
            case ExitCode.Fault:
                DeliverRaised();
                return false;
            case ExitCode.Protection:
                DeliverFault(Vector.GeneralProtection, 0);
                return false;
            case ExitCode.InvalidOpcode:
                DeliverFault(Vector.InvalidOpcode, null);
                return false;
            case ExitCode.TooLong:
                DeliverFault(Vector.GeneralProtection, 0);
                return false;
            case ExitCode.DeviceNotAvailable:
                LocateInstruction(S->ExitHostPc);
                DeliverFault(Vector.DeviceNotAvailable, null);
                return false;
            case ExitCode.HostFault:
                HandleHostFault();
                return false;
            default:
                _internalError = $"translated code left with an unknown reason {(int)code}";
                return false;
        }
    }

    /// <summary>#GP at a jump of 64-bit code whose target is not canonical.</summary>
    private bool RefuseJump()
    {
        if (!Code64 || IsCanonical(S->Rip) || S->ExitHostPc == 0)
        {
            return false;
        }

        LocateInstruction(S->ExitHostPc + 1);
        S->Gpr[RspIndex] -= *(uint*)S->ExitHostPc;
        DeliverFault(Vector.GeneralProtection, 0);
        return true;
    }

    private bool Emulate()
    {
        Statistics.PrivilegedInstructions++;
        Instruction instruction = _code.Traps[(int)S->ExitInfo];
        if (instruction.IP != S->Rip)
        {
            MoveTo(ref instruction, S->Rip);
        }

        CountTrap(instruction);
        _entersHandler = instruction.Mnemonic is Mnemonic.Int or Mnemonic.Int1 or Mnemonic.Int3 or Mnemonic.Into or Mnemonic.Syscall;
        NextRip = CodeBits switch { 64 => instruction.NextIP, 32 => (uint)instruction.NextIP, _ => (ushort)instruction.NextIP };
        delegate*<SoftwareVcpu, in Instruction, void> handler = PrivilegedTable.Find(instruction);
        if (handler == null)
        {
            _internalError = $"no translation for '{instruction}' at {S->Rip:x}";
            return false;
        }

        try
        {
            handler(this, instruction);
        }
        catch (GuestException fault)
        {
            RaisedFault = default;
            DeliverFault(fault.Vector, fault.ErrorCode);
            return false;
        }

        if (RaisedFault.Raised)
        {
            DeliverRaised();
            return false;
        }

        S->Rip = NextRip;
        return true;
    }

    /// <summary>An instruction that a floating block was translated from stands elsewhere now.</summary>
    private static void MoveTo(ref Instruction instruction, ulong rip)
    {
        ulong by = rip - instruction.IP;
        if (instruction.IsIPRelativeMemoryOperand)
        {
            ulong address = instruction.MemoryDisplacement64 + by;
            instruction.MemoryDisplacement64 = instruction.MemoryBase == Register.EIP ? (uint)address : address;
        }

        instruction.IP = rip;
    }

    private void DeliverRaised()
    {
        PendingFault fault = RaisedFault;
        RaisedFault = default;
        DeliverFault(fault.Vector, fault.ErrorCode);
    }

    private void DeliverFault(Vector vector, uint? errorCode)
    {
        if (vector == Vector.X87 && !S->Cr0.Has(Cr0Bits.Ne))
        {
            Bus.FloatingPointError();
            return;
        }

        if (vector == Vector.PageFault)
        {
            Statistics.PageFaults++;
        }

        Statistics.Count(vector == Vector.PageFault ? ExitCause.PageFault : ExitCause.Exception);
        _breakpointsHit = 0;
        Deliver((int)vector, errorCode, EventKind.Fault);
    }

    private void Deliver(int vector, uint? errorCode, EventKind kind) => ExceptionDelivery.Deliver(this, vector, errorCode, kind);

    private void HandleHostFault()
    {
        byte* pc = (byte*)S->ExitHostPc;
        if (_code.FindByAddress(pc) is not { Exists: true } block)
        {
            _internalError = $"host fault {S->FaultTrap} (error {S->FaultError:x}, address {S->FaultAddress:x}) in a thunk";
            return;
        }

        S->Rip = block.RipAt(pc, S->CodePage);
        if (block.FlagsAreSavedAt(pc))
        {
            S->ArithmeticFlags = FlagsAsSaved;
        }
        else if (block.RecipeAt(pc) is { Exists: true } recipe)
        {
            S->ArithmeticFlags = recipe.Evaluate(S->Gpr);
        }

        switch ((Vector)S->FaultTrap)
        {
            case Vector.DivideError:
                DeliverFault(Vector.DivideError, null);
                break;
            case Vector.InvalidOpcode:
                DeliverFault(Vector.InvalidOpcode, null);
                break;
            case Vector.GeneralProtection:
                // Operands are checked before they are used: what remains is a misaligned SSE operand, or MXCSR.
                DeliverFault(Vector.GeneralProtection, 0);
                break;
            case Vector.X87:
                DeliverFault(Vector.X87, null);
                break;
            case Vector.AlignmentCheck:
                DeliverFault(Vector.AlignmentCheck, 0);
                break;
            case Vector.Simd:
                DeliverFault(S->Cr4.Has(Cr4Bits.OsXmmExcpt) ? Vector.Simd : Vector.InvalidOpcode, null);
                break;
            default:
                _internalError = $"host fault {S->FaultTrap} (error {S->FaultError:x}, address {S->FaultAddress:x}) at guest {S->Rip:x}";
                break;
        }
    }

    /// <summary>Where a poll that has seen a request goes on.</summary>
    private ulong PolledRip()
    {
        Block block = BlockAt(S->ExitHostPc);
        ulong rip = block.PlaceIn(S->CodePage) + block.Key.Rip + (ulong)*(int*)S->ExitHostPc;
        return Code64 ? rip : (uint)rip;
    }

    /// <summary>Goes on at a jump's target. Returns its translation; none as from <see cref="FindBlock"/>.</summary>
    /// <param name="mode">The target's.</param>
    private Block Link(BlockMode mode)
    {
        Block block = BlockAt(S->ExitHostPc);
        int stub = block.StubAt((byte*)S->ExitHostPc - 1);
        S->Rip = block.PlaceIn(S->CodePage) + block.TargetOf(stub);
        Statistics.Count(ExitCause.Dispatch);
        int generation = _code.Generation;
        Block target = FindBlock(mode);
        if (target.Exists && generation == _code.Generation)
        {
            _code.Link(block, stub, target, Statistics);
        }

        return target;
    }

    /// <summary>The translation for RIP, from the jump cache if it is there. Null: a fault was delivered, or the machine cannot go on.</summary>
    private byte* FindCode()
    {
        ulong* entry = JumpsOf(Mode.Space())->Entry + (NativeJumpCache.IndexOf(S->Rip, Mode.Space()) * 2);
        if (entry[0] == 0 - S->Rip && entry[1] != 0)
        {
            return (byte*)entry[1];
        }

        Block block = FindBlock(Mode);
        if (!block.Exists)
        {
            return null;
        }

        EnterJump(Mode.Space(), S->Rip, block);
        return block.Code;
    }

    /// <summary>As <see cref="FindCode"/>, of a block without runs.</summary>
    private byte* FindApart(BlockMode mode) => FindBlock(mode | BlockMode.Apart) is { Exists: true } block ? block.Code : null;

    private Block FindBlock(BlockMode mode)
    {
        ulong rip = S->Rip;
        ulong linear;
        if (Code64)
        {
            linear = rip;
            if (!IsCanonical(rip))
            {
                DeliverFault(Vector.GeneralProtection, 0);
                return default;
            }
        }
        else
        {
            linear = (uint)(S->Cs.Base + rip);
            if (rip > S->Cs.Limit)
            {
                DeliverFault(Vector.GeneralProtection, 0);
                return default;
            }
        }

        AddressSpace space = FetchSpace;
        if (!TryTranslate(linear, Access.Execute, space, out CachedPage page, out uint errorCode))
        {
            S->Cr2 = linear;
            DeliverFault(Vector.PageFault, errorCode);
            return default;
        }

        ulong offset = linear & GuestMemory.PageMask;
        var key = new BlockKey(page.Gpa + offset, rip, mode, Code64 ? 0 : S->Cs.Limit);
        if (page.Host == null)
        {
            return TranslateFromBus(key, linear);
        }

        if (_code.Options.Floats(mode, rip))
        {
            key = key with { Rip = offset, Mode = mode | BlockMode.Floating };
        }

        ref Block recent = ref _recentBlocks[key.Place & (RecentBlocks - 1)];
        Block block = recent is { Valid: true } known && known.Key.Equals(key) ? known : _code.Find(key);
        recent = block;
        if (block.Exists && (block.SecondPage == Block.NoPage || SecondPageStands(block, linear, space)))
        {
            return block;
        }

        return Translate(key, linear, page.Host + offset, (int)(GuestMemory.PageSize - offset));
    }

    private bool SecondPageStands(Block block, ulong linear, AddressSpace space)
        => TryTranslate((linear & ~GuestMemory.PageMask) + GuestMemory.PageSize, Access.Execute, space, out CachedPage page, out _)
            && page.Gpa == block.SecondPage;

    /// <summary>None: a fault was delivered, or everything was thrown away meanwhile and RIP is to be looked up again.</summary>
    private Block Translate(in BlockKey key, ulong linear, byte* bytes, int length)
    {
        Statistics.Count(ExitCause.Translation);
        _code.MakeRoom(this);
        int limit = length;
        if (!Code64)
        {
            limit = (int)Math.Min((ulong)length, S->Cs.Limit - key.Rip + 1);
        }

        var source = new CodeSource
        {
            Rip = S->Rip,
            Linear = linear,
            Gpa = key.Gpa,
            CodeLimit = key.CodeLimit,
            Bytes = bytes,
            Length = limit,
            SecondPage = Block.NoPage,
        };
        if (_code.ChangesOften(key.Gpa) && _code.Translate(source with { ChecksItself = true }, key.Mode, [], Statistics, out _) is { Exists: true } checking)
        {
            return checking;
        }

        if (_code.TranslateAtOnce(source, key.Mode, Statistics) is { Exists: true } made)
        {
            return made;
        }

        CodePage page = _code.BeginTranslation(this, key.Gpa);
        try
        {
            if (_code.Translate(source, key.Mode, [page], Statistics, out bool moved) is { Exists: true } block)
            {
                return block;
            }

            if (moved)
            {
                return default;
            }

            if (limit < length)
            {
                DeliverFault(Vector.GeneralProtection, 0);
                return default;
            }

            return TranslateAcrossPages(key, linear, bytes, length, page);
        }
        finally
        {
            _code.EndTranslation(page);
        }
    }

    /// <summary>Translates the one instruction that begins in a page's last bytes and ends in the next page.</summary>
    private Block TranslateAcrossPages(in BlockKey key, ulong linear, byte* firstBytes, int firstPart, CodePage first)
    {
        byte* buffer = stackalloc byte[MaxInstructionLength];
        TryFetch(linear, new Span<byte>(buffer, MaxInstructionLength), out int got, out _, out PageFaultInfo fault);
        if (got > firstPart && TryTranslate(linear + (ulong)firstPart, Access.Execute, FetchSpace, out CachedPage second, out _))
        {
            if (second.Host == null)
            {
                return TranslateFromBus(key with { Rip = S->Rip, Mode = key.Mode & ~BlockMode.Floating }, linear);
            }

            CodePage page = _code.BeginTranslation(this, second.Gpa);
            try
            {
                var source = new CodeSource
                {
                    Rip = S->Rip,
                    Linear = linear,
                    Gpa = key.Gpa,
                    CodeLimit = key.CodeLimit,
                    Bytes = buffer,
                    Length = got,
                    FirstPart = firstBytes,
                    SecondPart = second.Host,
                    FirstLength = firstPart,
                    SecondPage = second.Gpa,
                };
                if (_code.Translate(source, key.Mode, [first, page], Statistics, out bool moved) is { Exists: true } block)
                {
                    return block;
                }

                if (moved)
                {
                    return default;
                }
            }
            finally
            {
                _code.EndTranslation(page);
            }
        }

        DeliverFetchFault(got, fault);
        return default;
    }
}
