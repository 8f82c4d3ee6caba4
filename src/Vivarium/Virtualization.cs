namespace Vivarium;

/// <summary>What a machine's hardware is like, as far as <see cref="MachineSpec"/> does not say it device by device.</summary>
public enum Virtualization
{
    /// <summary>
    /// For guests that know that they are virtual: virtio devices, the KVM paravirtual interface, and of a PC's old devices
    /// only those that kernels need.
    /// </summary>
    Para,

    /// <summary>
    /// A classic PC in which a guest finds no sign of a hypervisor: CPUID shows none, disks are IDE, and no virtio device is
    /// there unless the specification names one.
    /// </summary>
    Full,
}
