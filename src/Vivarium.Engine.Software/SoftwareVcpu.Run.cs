using System.Runtime.InteropServices;
using Iced.Intel;
using Vivarium.Engine.Software.CodeCache;
using Vivarium.Engine.Software.Mmu;
using Vivarium.Engine.Software.Privileged;
using Vivarium.Engine.Software.Translate;
using Vivarium.Memory;

namespace Vivarium.Engine.Software;

// The run loop: find the translation for RIP, enter it, do what its exit asks for.
internal sealed unsafe partial class SoftwareVcpu : ICodeWatch
{
    private const int MaxInstructionLength = 15;
    private const int Spaces = 3;

    private readonly TranslationCache _cache;
    private readonly Translator _translator;
    private readonly Thunks _thunks;
    private int _kicked;
    private int _nmiRequested;
    private bool _carefulNext;
    private string? _internalError;

    /// <summary>What was counted when the careful translation was asked for that is about to run.</summary>
    private long _countedBeforeCareful;

    public void Run(out VmExit exit)
    {
        _times?.Enter(VcpuActivity.Monitor);
        exit = default;
        while (true)
        {
            if (Volatile.Read(ref S->ExitRequest) != 0)
            {
                Interlocked.Exchange(ref S->ExitRequest, 0);
                DropForeignWrites();
                if (Interlocked.Exchange(ref _kicked, 0) != 0)
                {
                    Statistics.Count(ExitCause.Kick);
                    exit.Reason = ExitReason.Cancelled;
                    return;
                }
            }

            bool shadow = InterruptShadow;
            InterruptShadow = false;
            if (HasPendingEvent)
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

            Step();
        }
    }

    public void Kick()
    {
        Volatile.Write(ref _kicked, 1);
        Volatile.Write(ref S->ExitRequest, 1);
    }

    public void RequestInterrupt()
    {
        Volatile.Write(ref S->InterruptRequested, 1);
        Volatile.Write(ref S->ExitRequest, 1);
    }

    public void RequestNmi()
    {
        Volatile.Write(ref _nmiRequested, 1);
        Volatile.Write(ref S->ExitRequest, 1);
    }

    public ulong Tsc => GuestTsc;

    public bool HasPendingEvent
        => (Volatile.Read(ref S->InterruptRequested) != 0 && S->SystemFlags.Has(RflagsBits.If))
            || (Volatile.Read(ref _nmiRequested) != 0 && !NmiBlocked);

    /// <summary>What the processor stops for, rather than run an instruction.</summary>
    private bool EndsRun(ref VmExit exit)
    {
        if (ShutdownPending)
        {
            exit.Reason = ExitReason.Shutdown;
        }
        else if (Halted)
        {
            Statistics.Halts++;
            _times?.Enter(VcpuActivity.Idle);
            exit.Reason = ExitReason.Halt;
        }
        else if (HypercallRequested)
        {
            HypercallRequested = false;
            exit.Reason = ExitReason.Hypercall;
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

    private void Step()
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
                return;
            }
        }

        // It was for this instruction only; a fault, or a repeated instruction that is not done, sets it again.
        S->SystemFlags &= ~RflagsBits.Rf;
        BlockMode mode = _mode;
        bool careful = _carefulNext || stepping;
        if (careful)
        {
            mode |= BlockMode.Careful;
            _carefulNext = false;
        }

        byte* code = careful ? FindBlock(mode) is { } block ? block.Code : null : FindCode();
        if (code == null)
        {
            return;
        }

        Statistics.DispatcherEntries++;
        _times?.Enter(VcpuActivity.Guest);
        _thunks.Enter(S, code);
        _times?.Enter(VcpuActivity.Monitor);
        bool completed = HandleExit((ExitCode)S->ExitCode);
        if (stepping && completed)
        {
            FinishStep(singleStep);
        }
    }

    /// <summary>Returns true if the instruction at which translated code was left (or the only one) has been completed.</summary>
    private bool HandleExit(ExitCode code)
    {
        switch (code)
        {
            case ExitCode.Poll:
                return true;
            case ExitCode.Dispatch:
                Statistics.Count(ExitCause.Dispatch);
                return true;
            case ExitCode.CarefulDone:
                CountSlowAccess();
                return true;
            case ExitCode.Link:
                Statistics.Count(ExitCause.Dispatch);
                Link();
                return true;
            case ExitCode.Trap:
                return Emulate();
            case ExitCode.Careful:
                _carefulNext = true;
                _countedBeforeCareful = CountedInCareful;
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

    private bool Emulate()
    {
        Statistics.PrivilegedInstructions++;
        ref readonly Instruction instruction = ref CollectionsMarshal.AsSpan(_translator.Traps)[(int)S->ExitInfo];
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

    private void DeliverRaised()
    {
        PendingFault fault = RaisedFault;
        RaisedFault = default;
        DeliverFault(fault.Vector, fault.ErrorCode);
    }

    private void DeliverFault(Vector vector, uint? errorCode)
    {
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
        if (_cache.FindByAddress(pc) is not { } block)
        {
            _internalError = $"host fault {S->FaultTrap} (error {S->FaultError:x}, address {S->FaultAddress:x}) in a thunk";
            return;
        }

        S->Rip = block.RipAt(pc);
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

    private void Link()
    {
        byte* stub = (byte*)S->ExitHostPc - 1;
        int generation = _cache.Generation;
        if (FindBlock(_mode) is { } target && generation == _cache.Generation && target.SecondPage == Block.NoPage
            && _cache.FindByAddress(stub) is { } source && ((source.Key.Gpa ^ target.Key.Gpa) & ~GuestMemory.PageMask) == 0)
        {
            _cache.Link(source.JumpOf(stub), target);
        }
    }

    /// <summary>The translation for RIP, from the jump cache if it is there. Null: a fault was delivered, or the machine cannot go on.</summary>
    private byte* FindCode()
    {
        ulong* entry = JumpsOf(_mode.Space())->Entry + (NativeJumpCache.IndexOf(S->Rip, _mode.Space()) * 2);
        if (entry[0] == 0 - S->Rip && entry[1] != 0)
        {
            return (byte*)entry[1];
        }

        Block? block = FindBlock(_mode);
        if (block is null)
        {
            return null;
        }

        EnterJump(_mode.Space(), S->Rip, block.Code);
        return block.Code;
    }

    private Block? FindBlock(BlockMode mode)
    {
        ulong rip = S->Rip;
        ulong linear;
        if (Code64)
        {
            linear = rip;
            if (!IsCanonical(rip))
            {
                DeliverFault(Vector.GeneralProtection, 0);
                return null;
            }
        }
        else
        {
            linear = (uint)(S->Cs.Base + rip);
            if (rip > S->Cs.Limit)
            {
                DeliverFault(Vector.GeneralProtection, 0);
                return null;
            }
        }

        AddressSpace space = FetchSpace;
        if (!TryTranslate(linear, Access.Execute, space, out CachedPage page, out uint errorCode))
        {
            S->Cr2 = linear;
            DeliverFault(Vector.PageFault, errorCode);
            return null;
        }

        if (page.Host == null)
        {
            _internalError = $"the guest jumped to {rip:x} (physical {page.Gpa:x}), where there is no memory";
            return null;
        }

        ulong offset = linear & GuestMemory.PageMask;
        var key = new BlockKey(page.Gpa + offset, rip, mode, Code64 ? 0 : S->Cs.Limit);
        Block? block = _cache.Find(key);
        if (block is not null && (block.SecondPage == Block.NoPage || SecondPageStands(block, linear, space)))
        {
            return block;
        }

        return Translate(key, linear, page.Host + offset, (int)(GuestMemory.PageSize - offset));
    }

    private bool SecondPageStands(Block block, ulong linear, AddressSpace space)
        => TryTranslate((linear & ~GuestMemory.PageMask) + GuestMemory.PageSize, Access.Execute, space, out CachedPage page, out _)
            && page.Gpa == block.SecondPage;

    private Block? Translate(in BlockKey key, ulong linear, byte* bytes, int length)
    {
        if (_translator.NeedsRoom)
        {
            DropAllTranslations();
        }

        int limit = length;
        if (!Code64)
        {
            limit = (int)Math.Min((ulong)length, S->Cs.Limit - key.Rip + 1);
        }

        WatchCode(key.Gpa);
        var source = new CodeSource
        {
            Rip = key.Rip,
            Linear = linear,
            Gpa = key.Gpa,
            CodeLimit = key.CodeLimit,
            Bytes = bytes,
            Length = limit,
            SecondPage = Block.NoPage,
        };
        Block? block = _translator.Translate(source, key.Mode);
        if (block is null)
        {
            if (limit < length)
            {
                DeliverFault(Vector.GeneralProtection, 0);
                return null;
            }

            block = TranslateAcrossPages(key, linear, length);
            if (block is null)
            {
                return null;
            }
        }

        Statistics.BlocksTranslated++;
        Statistics.InstructionsTranslated = _translator.InstructionCount;
        _cache.Add(block);
        Statistics.CodeBytes = _cache.UsedBytes;
        return block;
    }

    /// <summary>Translates the one instruction that begins in a page's last bytes and ends in the next page.</summary>
    private Block? TranslateAcrossPages(in BlockKey key, ulong linear, int firstPart)
    {
        byte* buffer = stackalloc byte[MaxInstructionLength];
        bool backed = TryTranslate(linear + (ulong)firstPart, Access.Execute, FetchSpace, out CachedPage second, out _);
        if (backed)
        {
            WatchCode(second.Gpa);
        }

        TryFetch(linear, new Span<byte>(buffer, MaxInstructionLength), out int got, out _, out PageFaultInfo fault);
        if (got > firstPart)
        {
            if (backed)
            {
                var source = new CodeSource
                {
                    Rip = key.Rip,
                    Linear = linear,
                    Gpa = key.Gpa,
                    CodeLimit = key.CodeLimit,
                    Bytes = buffer,
                    Length = got,
                    SecondPage = second.Gpa,
                };
                if (_translator.Translate(source, key.Mode) is { } block)
                {
                    return block;
                }
            }
        }

        if (got == MaxInstructionLength || fault.NotCanonical)
        {
            DeliverFault(Vector.GeneralProtection, 0);
        }
        else
        {
            S->Cr2 = fault.Address;
            DeliverFault(Vector.PageFault, fault.ErrorCode);
        }

        return null;
    }

    /// <summary>Before bytes of a page are translated: from now on writes to it are seen, also those of devices.</summary>
    private void WatchCode(ulong gpa)
    {
        if (_cache.Pages.Watch(gpa))
        {
            ForgetWrites(gpa);
        }
    }

    /// <summary>Throws every translation away. Not while translated code is active.</summary>
    private void DropAllTranslations()
    {
        _cache.Clear();
        _translator.Traps.Clear();
        FlushJumpCaches();
    }

    bool ICodeWatch.Overlaps(ulong gpa, int size) => _cache.Pages.Overlaps(gpa, size);

    void ICodeWatch.Invalidate(ulong gpa, int size)
    {
        Statistics.Count(ExitCause.SelfModifyingCode);
        foreach (Block block in _cache.Invalidate(gpa, size))
        {
            Statistics.BlocksInvalidated++;
            for (int space = 0; space < Spaces; space++)
            {
                FirstLevelTlb.Drop(JumpsOf((AddressSpace)space), (AddressSpace)space, block.Key.Rip, block.Code);
            }
        }
    }
}
