using Vivarium.Firmware;
using Vivarium.Firmware.Boot;

namespace Vivarium.Board;

/// <summary>What a machine starts: a kernel that a loader places, or firmware, or firmware that is handed a kernel.</summary>
internal sealed record BootSource(BootPlan? Kernel, FirmwareImage? Firmware, OptionRom? VideoBios = null, FirmwareVariables? Variables = null) : IDisposable
{
    /// <summary>Opens the files and checks them.</summary>
    /// <exception cref="BootException">Something is wrong with them; the message says what.</exception>
    public static BootSource Open(MachineSpec spec, PlatformLayout layout)
    {
        FirmwareImage? firmware = spec.Firmware is null ? null : FirmwareImage.Load(spec.Firmware.Path);
        OptionRom? videoBios = spec.Firmware?.VideoBios is { } rom ? OptionRom.Load(rom) : null;
        BootPlan? kernel = spec.Kernel is null ? null : Plan(spec, layout);
        try
        {
            FirmwareVariables? variables = spec.Firmware is { VariablesTemplate: { } template } ? FirmwareVariables.Open(template, spec.Firmware.Variables) : null;
            return new BootSource(kernel, firmware, videoBios, variables);
        }
        catch
        {
            Close(kernel);
            throw;
        }
    }

    public void Dispose()
    {
        Variables?.Dispose();
        Close(Kernel);
    }

    private static BootPlan Plan(MachineSpec spec, PlatformLayout layout)
    {
        var plan = new BootPlan { Kernel = KernelImage.Load(spec.Kernel!), CommandLine = spec.CommandLine, StartsFromFirmware = spec.Firmware is not null };
        try
        {
            if (spec.Initrd is not null)
            {
                plan = plan with { Initrd = Initrd.Load(spec.Initrd) };
            }

            foreach (ModuleSpec module in spec.Modules)
            {
                plan = plan with { Modules = [.. plan.Modules, BootModule.Load(module.Path, module.Arguments)] };
            }

            plan.Check(layout);
            return plan;
        }
        catch
        {
            Close(plan);
            throw;
        }
    }

    private static void Close(BootPlan? plan)
    {
        if (plan is null)
        {
            return;
        }

        foreach (BootModule module in plan.Modules)
        {
            module.Dispose();
        }

        plan.Initrd?.Dispose();
        plan.Kernel.Dispose();
    }
}
