namespace Vivarium.Engine.Software;

// What the delivery of events leaves for the run loop.
internal sealed unsafe partial class SoftwareVcpu
{
    /// <summary>An NMI is being handled: further ones wait for IRET (SDM vol. 3A, 6.7.1).</summary>
    public bool NmiBlocked { get; set; }

    /// <summary>A triple fault has happened: the run loop reports the shutdown.</summary>
    public bool ShutdownPending { get; set; }
}
