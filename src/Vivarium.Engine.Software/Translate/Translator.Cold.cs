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
        }

        byte* displacement = part.Jump;
        _e.Land(displacement);
        switch (part.Kind)
        {
            case ColdKind.LoadExtended:
                _e.MovRr(Rcx, T1);
                _e.StoreStateRip(StateOffset.Rip, part.Rip);
                _e.Call(_thunks.LoadExtended);
                _e.Jmp(part.Resume);
                break;
            case ColdKind.Resolve:
                _e.StoreStateImm32(StateOffset.ExitInfo, (uint)part.Data);
                _e.Call(_thunks.Resolve(part.Space, (part.Data & AccessInfo.WriteBit) != 0));
                _e.Jmp(part.Resume);
                break;
            case ColdKind.Trap:
                RestoreFlagsIf(part.FlagsSaved);
                EmitTrapIndex((int)part.Data, part.Rip);
                EmitExitAt(part.Rip, ExitCode.Trap);
                break;
            case ColdKind.Careful:
                RestoreFlagsIf(part.FlagsSaved);
                EmitExitAt(part.Rip, ExitCode.Careful);
                break;
            case ColdKind.Link:
                _e.StoreStateRip(StateOffset.Rip, part.Data);
                _e.Call(_thunks.Link);
                break;
            case ColdKind.Poll:
                _e.MovRr(Rcx, T1);
                EmitExitAt(part.Data, ExitCode.Poll);
                break;
            case ColdKind.Miss:
                _e.MovRr(Rcx, T1);
                EmitExitAt(part.Data, ExitCode.Dispatch);
                break;
            case ColdKind.IndirectMiss:
                if (CodeBits == 64)
                {
                    _e.LoadState(T1, StateOffset.Rip);
                    EmitCanonicalTest(T1);
                    byte* refused = _e.JumpForward(JaCondition);
                    RestoreFlagsIf(part.FlagsSaved);
                    EmitExitTail(ExitCode.Dispatch);
                    _e.Land(refused);
                    EmitNotCanonical(part);
                    break;
                }

                RestoreFlagsIf(part.FlagsSaved);
                EmitExitTail(ExitCode.Dispatch);
                break;
            case ColdKind.NotCanonical:
                EmitNotCanonical(part);
                break;
        }
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
