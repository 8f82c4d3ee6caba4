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
                RestoreFlags(part);
                _e.StoreStateImm(StateOffset.ExitInfo, part.Data);
                EmitExitAt(part.Rip, ExitCode.Trap);
                break;
            case ColdKind.Careful:
                RestoreFlags(part);
                EmitExitAt(part.Rip, ExitCode.Careful);
                break;
            case ColdKind.Link:
                _e.StoreStateImm(StateOffset.Rip, part.Data);
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
                    RestoreFlags(part);
                    EmitExitTail(ExitCode.Dispatch);
                    _e.Land(refused);
                    EmitNotCanonical(part);
                    break;
                }

                RestoreFlags(part);
                EmitExitTail(ExitCode.Dispatch);
                break;
            case ColdKind.NotCanonical:
                EmitNotCanonical(part);
                break;
        }
    }

    private void EmitNotCanonical(in ColdPart part)
    {
        RestoreFlags(part);
        if (part.Data != 0)
        {
            EmitAdjustStack(-(int)part.Data);
        }

        EmitExitAt(part.Rip, ExitCode.Protection);
    }

    /// <summary>Before an exit: the flags are in RFLAGS. T2 is lost.</summary>
    private void RestoreFlags(in ColdPart part)
    {
        if ((part.Flags & FlagsAt.Host) == 0)
        {
            _e.RestoreFlags(T2);
        }
    }
}
