using Vivarium.Memory;
using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

internal sealed unsafe partial class Translator
{
    private void EmitCold(in ColdPart part)
    {
        _flags = FlagsAt.Host;
        Mark(part.Rip);
        if (part.Kind == ColdKind.Link)
        {
            _stubs.Add((ushort)(_e.ToExecutable(part.Jump) - _blockCode));
            _stubs.Add((ushort)(_e.Here - _blockCode));
            _stubs.Add((ushort)((_source.Linear + (part.Data - _source.Rip)) & GuestMemory.PageMask));
        }

        byte* displacement = part.Jump;
        _e.Land(displacement);
        switch (part.Kind)
        {
            case ColdKind.LoadExtended:
            case ColdKind.LoadExtendedKeepingFlags:
                if (part.Kind == ColdKind.LoadExtendedKeepingFlags)
                {
                    _e.MovRr(Rcx, T1);
                }

                RestoreFlags(part);
                _e.StoreStateRip(StateOffset.Rip, part.Rip);
                _e.Call(_thunks.LoadExtended);
                _e.Jmp(part.Resume);
                break;
            case ColdKind.Resolve:
            case ColdKind.ResolveAddress:
                EmitResolve(part, part.Kind == ColdKind.ResolveAddress);
                break;
            case ColdKind.ResolveOnStack:
                SaveFlags(part);
                _e.StoreStateImm32(StateOffset.ExitInfo, (uint)part.Data);
                _e.Call(_thunks.ResolveOnStack(part.Space, ((uint)part.Data & AccessInfo.WriteBit) != 0));
                _e.Jmp(part.Resume);
                break;
            case ColdKind.ResolveInWindow:
            case ColdKind.ResolveAddressInWindow:
                EmitResolve(part, part.Kind == ColdKind.ResolveAddressInWindow, window: (int)(part.Data >> 32));
                break;
            case ColdKind.FirstRound:
                RestoreFlags(part);
                _e.Jmp(part.Resume);
                break;
            case ColdKind.LoopPage:
            case ColdKind.LoopPageAddress:
                EmitLoopPageMiss(part);
                EmitResolve(part, part.Kind == ColdKind.LoopPageAddress);
                break;
            case ColdKind.Trap:
                RestoreFlags(part);
                EmitTrapIndex((int)part.Data, part.Rip);
                EmitExitAt(part.Rip, ExitCode.Trap);
                break;
            case ColdKind.Careful:
                RestoreFlags(part);
                EmitExitAt(part.Rip, ExitCode.Careful);
                break;
            case ColdKind.Link:
                _e.StoreStateRip(StateOffset.Rip, part.Data);
                _e.Call(_thunks.Link);
                break;
            case ColdKind.Poll:
                RestoreFlags(part);
                EmitExitAt(part.Data, ExitCode.Poll);
                break;
            case ColdKind.PollKeepingFlags:
                _e.MovRr(Rcx, T1);
                EmitExitAt(part.Data, ExitCode.Poll);
                break;
            case ColdKind.PollAtTarget:
                RestoreFlags(part);
                _e.LoadState(T1, StateOffset.JumpTarget);
                _e.StoreState(StateOffset.Rip, T1);
                EmitExitTail(ExitCode.Poll);
                break;
            case ColdKind.Miss or ColdKind.MissByRip:
                if (part.Kind == ColdKind.Miss)
                {
                    _e.MovRr(Rcx, T1);
                    _e.MovRip(T1, part.Data);
                }
                else
                {
                    RestoreFlags(part);
                    _e.LoadState(T1, StateOffset.Rip);
                }

                if (part.Resume == null)
                {
                    _e.Jmp(_thunks.Jumps.Direct(_mode.Space()));
                    break;
                }

                _e.Call(_thunks.Jumps.Direct(_mode.Space()));
                _e.Jmp(part.Resume);
                break;
            case ColdKind.IndirectMiss:
                SaveFlags(part);
                EmitOrigin(part);
                _e.Jmp(_thunks.Jumps.Jump(_mode.Space()));
                break;
            case ColdKind.ReturnMiss:
                SaveFlags(part);
                EmitOrigin(part);
                _e.Jmp(_thunks.Jumps.Return(_mode.Space()));
                break;
            case ColdKind.CallMiss:
                _e.LoadState(T1, StateOffset.JumpTarget);
                EmitCanonicalTest(T1);
                byte* refused = _e.JumpForward(JaCondition);
                _e.LeaHost(T1, _thunks.Jumps.Call(_mode.Space()));
                _e.Jmp(part.Resume);
                _e.Land(refused);
                EmitRefusedTarget(part);
                break;
            case ColdKind.RefusedTarget:
                EmitRefusedTarget(part);
                break;
        }
    }

    /// <summary>T1 and T2 as <see cref="Thunks.Resolve"/> wants them: goes on with what it says.</summary>
    /// <param name="address">For an operand at T1 + T2.</param>
    /// <param name="window">As in <see cref="EmitAccess"/>.</param>
    private void EmitResolve(in ColdPart part, bool address, int window = -1)
    {
        if ((part.Flags & FlagsAt.Saved) == 0)
        {
            _e.StoreState(StateOffset.JumpRcx, T2);
            SaveFlags(part);
            _e.LoadState(T2, StateOffset.JumpRcx);
        }

        _e.StoreStateImm32(StateOffset.ExitInfo, (uint)part.Data);
        _e.Call(_thunks.Resolve(part.Space, ((uint)part.Data & AccessInfo.WriteBit) != 0));
        if (window >= 0)
        {
            EmitNoteResolved(window);
        }

        if (address)
        {
            _e.Rr(0x31, T2, T2, wide: false);   // xor
        }

        _e.Jmp(part.Resume);
    }

    /// <summary>For <see cref="ExitCode.Jump"/>: which instruction jumps, and what it has popped.</summary>
    private void EmitOrigin(in ColdPart part)
    {
        _e.StoreStateImm32(StateOffset.ExitInfo, (uint)part.Data);
        _e.LeaHost(T2, _e.Here);
    }

    private void EmitRefusedTarget(in ColdPart part)
    {
        RestoreFlags(part);
        if (part.Data != 0)
        {
            EmitAdjustStack(-(int)part.Data);
        }

        EmitExitAt(part.Rip, ExitCode.Protection);
    }

    /// <summary>For thunks that want the flags saved. T2 is lost.</summary>
    private void SaveFlags(in ColdPart part)
    {
        if ((part.Flags & FlagsAt.Saved) == 0)
        {
            part.Recipe.Emit(_e, T2);
            _e.SaveFlags(T2);
        }
    }

    /// <summary>Before an exit: the flags are in RFLAGS. T2 is lost.</summary>
    private void RestoreFlags(in ColdPart part)
    {
        if ((part.Flags & FlagsAt.Host) == 0)
        {
            MakeFlags(part.Flags, part.Recipe, T2);
        }
    }
}
