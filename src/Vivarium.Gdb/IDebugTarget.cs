using Vivarium.Engine;
using Vivarium.Memory;

namespace Vivarium.Gdb;

/// <summary>
/// A machine from power-on to power-off or reset, as a debugger sees it. What concerns processors and memory may be used while
/// the machine is stopped, and by the holder of <see cref="Gate"/> only.
/// </summary>
public interface IDebugTarget
{
    /// <summary>Held around every use. Who ends the machine takes it too, so that nothing vanishes in the middle.</summary>
    Lock Gate { get; }

    /// <summary>The machine has ended, and its processors and memory are gone.</summary>
    bool HasEnded { get; }

    CpuModel Model { get; }

    GuestMemory Memory { get; }

    IReadOnlyList<IVcpu> Processors { get; }

    /// <summary>False: an application processor that has had no start-up message yet, and runs nothing.</summary>
    bool IsStarted(int processor);

    /// <summary>
    /// A debugger comes: from now on it is told of events, on any thread, until <see cref="Detach"/>. False if there is one
    /// already.
    /// </summary>
    bool TryAttach(Action<DebugEvent> tell);

    /// <summary>The debugger goes: the machine runs on, and stops for nothing any more.</summary>
    void Detach();

    /// <summary>Stops guest time and all processors; returns when none is in guest code.</summary>
    void Stop();

    /// <summary>Lets those processors run, from a full stop, for which it is said; the others stay.</summary>
    /// <param name="run">By number.</param>
    /// <param name="stepping">Those that run take a step only: guest time goes on while they do, not while they come and go.</param>
    void Resume(ReadOnlySpan<bool> run, bool stepping);

    /// <summary>Ends the machine at once, as by pulling the plug.</summary>
    void Kill();
}

public enum DebugEventKind
{
    /// <summary>A processor has stopped; the others have not yet.</summary>
    Stopped,

    /// <summary>A processor has shut down by a triple fault; when it runs on, that ends the machine.</summary>
    Crashed,

    /// <summary>The machine has been switched off.</summary>
    PoweredOff,

    /// <summary>It has been reset: another follows.</summary>
    Reset,

    /// <summary>It was ended by a crash or from outside.</summary>
    Killed,
}

/// <summary>What a machine tells its debugger.</summary>
/// <param name="Kind">What has happened.</param>
/// <param name="Processor">Whom it has happened to, where it concerns one.</param>
/// <param name="Exit">For <see cref="DebugEventKind.Stopped"/>.</param>
public readonly record struct DebugEvent(DebugEventKind Kind, int Processor = 0, VmExit Exit = default);
