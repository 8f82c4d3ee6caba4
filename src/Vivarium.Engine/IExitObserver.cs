namespace Vivarium.Engine;

/// <summary>Sees exits as they are counted.</summary>
public interface IExitObserver
{
    /// <summary>The guest waits for the monitor, for that reason. On the vCPU's own thread, between guest code: no lock, no allocation.</summary>
    void Exited(ExitCause cause);
}
