using Vivarium.Engine;

namespace Vivarium.Gdb;

/// <summary>The processors' states while the machine is stopped: taken when first asked for, given back before it runs if changed.</summary>
internal sealed class StoppedProcessors(IDebugTarget target)
{
    private const uint TimeStampCounter = 0x10;

    private readonly CpuState?[] _states = new CpuState?[target.Processors.Count];
    private readonly bool[] _changed = new bool[target.Processors.Count];

    public CpuState this[int processor]
    {
        get
        {
            if (_states[processor] is not { } state)
            {
                state = new CpuState();
                target.Processors[processor].GetState(state);
                _states[processor] = state;
            }

            return state;
        }
    }

    public void NoteChange(int processor) => _changed[processor] = true;

    /// <summary>To be called before the machine runs.</summary>
    public void GiveBack()
    {
        for (int i = 0; i < _states.Length; i++)
        {
            if (_changed[i] && _states[i] is { } state)
            {
                // The counter went on since it was read.
                _ = state.Msrs.Remove(TimeStampCounter);
                target.Processors[i].SetState(state);
            }

            _states[i] = null;
            _changed[i] = false;
        }
    }
}
