using Vivarium.Cli.Guests;

namespace Vivarium.Cli.Verbs;

/// <summary><c>--boot net</c>: network cards get iPXE in their ROMs, from Debian's package, which firmware then runs.</summary>
internal static class NetworkBoot
{
    /// <summary>The firmware is asked to boot from the network, and only then do cards have a ROM: others start sooner without.</summary>
    public static bool IsWanted(RunOptions options) => options.BootOrder?.Contains(BootDevice.Network) == true;

    /// <param name="firmware">What runs the ROMs.</param>
    /// <param name="cache">Where packages are unpacked.</param>
    public static MachineSpec GiveRoms(MachineSpec spec, FirmwareOption firmware, GuestCache cache) => spec with
    {
        Networks = [.. spec.Networks.Select(network => network with { Rom = FirmwareFiles.NetworkRoms.Obtain(cache, RomFile(firmware, spec.ModelOf(network))) })],
    };

    /// <summary>Those for UEFI have a program for a BIOS too, and are larger for it.</summary>
    private static string RomFile(FirmwareOption firmware, NetworkModel model)
    {
        string card = model switch { NetworkModel.E1000 => "e1000", NetworkModel.Rtl8139 => "rtl8139", _ => "virtio" };
        return $"{(firmware.Text == FirmwareOption.Bios ? "pxe" : "efi")}-{card}.rom";
    }
}
