using Vivarium.Firmware;
using Vivarium.Firmware.Boot;

namespace Vivarium.Board;

/// <summary>What a machine starts: a kernel that a loader places, or firmware. One of the two is not null.</summary>
internal sealed record BootSource(BootPlan? Kernel, FirmwareImage? Firmware, OptionRom? VideoBios = null) : IDisposable
{
    /// <summary>Opens the files and checks them.</summary>
    /// <exception cref="BootException">Something is wrong with them; the message says what.</exception>
    public static BootSource Open(MachineSpec spec, PlatformLayout layout)
    {
        if (spec.Firmware is { } firmware)
        {
            return new BootSource(null, FirmwareImage.Load(firmware.Path), firmware.VideoBios is { } rom ? OptionRom.Load(rom) : null);
        }

        var plan = new BootPlan { Kernel = KernelImage.Load(spec.Kernel!), CommandLine = spec.CommandLine };
        try
        {
            if (spec.Initrd is not null)
            {
                plan = plan with { Initrd = Initrd.Load(spec.Initrd) };
            }

            plan.Check(layout);
            return new BootSource(plan, null);
        }
        catch
        {
            Close(plan);
            throw;
        }
    }

    public void Dispose()
    {
        if (Kernel is not null)
        {
            Close(Kernel);
        }
    }

    private static void Close(BootPlan plan)
    {
        plan.Initrd?.Dispose();
        plan.Kernel.Dispose();
    }
}
