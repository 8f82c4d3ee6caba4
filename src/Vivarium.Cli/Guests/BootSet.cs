namespace Vivarium.Cli.Guests;

/// <summary>The files that boot a guest, and the kernel command line it needs.</summary>
internal sealed record BootSet(string Kernel, string? Initrd, string CommandLine);
