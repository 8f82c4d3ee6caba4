namespace Vivarium.Engine;

/// <summary>What a vCPU's thread is doing.</summary>
public enum VcpuActivity
{
    /// <summary>The engine and the vCPU's thread work for the guest: translation, emulation, delivery.</summary>
    Monitor,

    /// <summary>Guest code runs.</summary>
    Guest,

    /// <summary>A device, or an interrupt controller, answers an access: inside of <see cref="IVcpuBus"/>.</summary>
    Devices,

    /// <summary>The guest waits, in HLT or for its start.</summary>
    Idle,
}
