using Vivarium.Firmware.Host;
using Vivarium.Memory;

namespace Vivarium.Firmware.Boot;

/// <summary>What a machine is to boot: a kernel, and what the kernel gets.</summary>
public sealed record BootPlan
{
    public required KernelImage Kernel { get; init; }

    public Initrd? Initrd { get; init; }

    public string CommandLine { get; init; } = "";

    /// <summary>Further files, for a multiboot kernel.</summary>
    public IReadOnlyList<BootModule> Modules { get; init; } = [];

    /// <summary>The machine starts firmware, which is then handed the kernel (<see cref="HandOver"/>).</summary>
    public bool StartsFromFirmware { get; init; }

    /// <summary>Entropy for the guest's random number generator; empty for none. Protocols without a place for it ignore it.</summary>
    public ReadOnlyMemory<byte> RngSeed { get; init; } = HostEntropy.Read(32);

    /// <summary>Sees whether everything fits, without touching guest memory.</summary>
    /// <exception cref="BootException">It does not; the message says why.</exception>
    public void Check(PlatformLayout layout)
    {
        CheckMemory(layout);
        if (Modules.Count != 0 && Kernel is not MultibootKernel)
        {
            throw new BootException($"modules are for multiboot kernels, and {Kernel.Name} starts by {Kernel.Protocol}; leave them out, or give an initrd");
        }

        if (StartsFromFirmware && Kernel is not (MultibootKernel or RealModeKernel))
        {
            throw new BootException($"{Kernel.Name} starts by {Kernel.Protocol} and needs no firmware; leave out --firmware, or boot it from a disk");
        }

        Kernel.Check(this, layout);
    }

    /// <summary>What firmware gets to start the kernel with; <see cref="Check"/> has passed.</summary>
    /// <exception cref="BootException">Something does not fit or a file cannot be read.</exception>
    public FirmwareHandover HandOver(PlatformLayout layout) => Kernel.HandOver(this, layout);

    /// <summary>
    /// Writes the firmware tables, the kernel and all that it needs into guest memory and says how to enter it.
    /// May be repeated after a reset.
    /// </summary>
    /// <exception cref="BootException">Something does not fit or a file cannot be read.</exception>
    public EntryState Place(GuestMemory memory, PlatformLayout layout)
    {
        CheckMemory(layout);
        Kernel.Check(this, layout);
        return Kernel.Place(this, memory, layout, FirmwareTables.Place(memory, layout));
    }

    private static void CheckMemory(PlatformLayout layout)
    {
        if (layout.MemorySize < PlatformLayout.MinimumMemorySize)
        {
            throw new BootException(
                $"{ByteSize.Text(layout.MemorySize)} of memory is too small for any machine; give it at least {ByteSize.Text(PlatformLayout.MinimumMemorySize)}");
        }
    }
}
