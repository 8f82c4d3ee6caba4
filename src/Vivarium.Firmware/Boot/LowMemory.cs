namespace Vivarium.Firmware.Boot;

/// <summary>
/// What the loaders put below 640 KiB. A kernel may use that memory as it likes once it has read what it needs.
/// </summary>
public static class LowMemory
{
    /// <summary>Global descriptor table (<see cref="BootGdt"/>).</summary>
    public const ulong Gdt = 0x1000;

    /// <summary>PVH hvm_start_info; its module list and memory map follow it on the same page.</summary>
    public const ulong StartInfo = 0x2000;

    /// <summary>Linux boot_params ("zero page").</summary>
    public const ulong BootParams = 0x7000;

    /// <summary>Linux setup_data list.</summary>
    public const ulong SetupData = 0x8000;

    /// <summary>Page map level 4 of the identity mapping; the other tables follow it.</summary>
    public const ulong PageTables = 0x9000;

    /// <summary>Kernel command line, up to <see cref="CommandLineRoom"/> bytes with its terminating zero.</summary>
    public const ulong CommandLine = 0x2_0000;
    public const int CommandLineRoom = 0x1_0000;

    /// <summary>Initial stack pointer; the protocols promise none, but a value in RAM is kinder than zero.</summary>
    public const ulong StackTop = 0x6FF0;
}
