using static Vivarium.Engine.Software.Translate.HostRegister;

namespace Vivarium.Engine.Software.Translate;

internal sealed unsafe partial class Translator
{
    private void EmitCold(in ColdPart part)
    {
        Mark(part.Rip);
        if (part.Kind == ColdKind.Link)
        {
            _stubs.Add((ushort)(_e.ToExecutable(part.Jump) - _blockCode));
            _stubs.Add((ushort)(_e.Here - _blockCode));
            _links.Add(((nint)_e.ToExecutable(part.Jump), part.Data));
        }

        byte* displacement = part.Jump;
        _e.Land(displacement);
        switch (part.Kind)
        {
            case ColdKind.LoadExtended:
                _e.MovRr(Rcx, T1);
                _e.StoreStateImm(StateOffset.Rip, part.Rip);
                _e.Call(_thunks.LoadExtended);
                _e.Jmp(part.Resume);
                break;
            case ColdKind.Resolve:
                _e.StoreStateImm32(StateOffset.ExitInfo, (uint)part.Data);
                _e.Call(_thunks.Resolve(_mode.Space(), (part.Data & AccessInfo.WriteBit) != 0));
                _e.Jmp(part.Resume);
                break;
            case ColdKind.Trap:
                RestoreFlagsIf(part.FlagsSaved);
                _e.StoreStateImm(StateOffset.ExitInfo, part.Data);
                EmitExitAt(part.Rip, ExitCode.Trap);
                break;
            case ColdKind.Careful:
                RestoreFlagsIf(part.FlagsSaved);
                EmitExitAt(part.Rip, ExitCode.Careful);
                break;
            case ColdKind.Link:
                _e.StoreStateImm(StateOffset.Rip, part.Data);
                _e.Call(_thunks.Link);
                break;
            case ColdKind.Poll:
                _e.MovRr(Rcx, T1);
                EmitExitAt(part.Data, ExitCode.Poll);
                break;
            case ColdKind.PollAtRip:
                _e.MovRr(Rcx, T1);
                EmitExitTail(ExitCode.Poll);
                break;
            case ColdKind.Miss:
                _e.MovRr(Rcx, T1);
                _e.MovImm(T1, part.Data);
                if (part.Resume == null)
                {
                    _e.Jmp(_thunks.Jumps.Direct(_mode.Space()));
                    break;
                }

                _e.Call(_thunks.Jumps.Direct(_mode.Space()));
                _e.Jmp(part.Resume);
                break;
            case ColdKind.IndirectMiss:
                EmitOrigin(part);
                _e.Jmp(_thunks.Jumps.Jump(_mode.Space()));
                break;
            case ColdKind.ReturnMiss:
                _e.MovRr(Rcx, T2);
                EmitOrigin(part);
                _e.Jmp(_thunks.Jumps.Return(_mode.Space()));
                break;
            case ColdKind.CallMiss:
                _e.LoadState(T1, StateOffset.Rip);
                EmitCanonicalTest(T1);
                byte* refused = _e.JumpForward(JaCondition);
                RestoreFlagsIf(part.FlagsSaved);
                _e.LeaRip(T1, _thunks.Jumps.Call(_mode.Space()));
                _e.Jmp(part.Resume);
                _e.Land(refused);
                EmitNotCanonical(part);
                break;
            case ColdKind.NotCanonical:
                EmitNotCanonical(part);
                break;
        }
    }

    /// <summary>For <see cref="ExitCode.Jump"/>: which instruction jumps, and what it has popped.</summary>
    private void EmitOrigin(in ColdPart part)
    {
        _e.StoreStateImm32(StateOffset.ExitInfo, (uint)part.Data);
        _e.LeaRip(T2, _e.Here);
    }

    private void EmitNotCanonical(in ColdPart part)
    {
        RestoreFlagsIf(part.FlagsSaved);
        if (part.Data != 0)
        {
            EmitAdjustStack(-(int)part.Data);
        }

        EmitExitAt(part.Rip, ExitCode.Protection);
    }

    private void RestoreFlagsIf(bool saved)
    {
        if (saved)
        {
            _e.RestoreFlags(StateOffset.SavedRax);
        }
    }
}
