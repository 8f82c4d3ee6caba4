namespace Vivarium.Firmware.Boot;

/// <summary>The processor mode in which a kernel is entered.</summary>
public enum EntryMode
{
    /// <summary>Real mode, with firmware beneath.</summary>
    Real16,

    /// <summary>Protected mode with flat 32-bit segments, paging off.</summary>
    Protected32,

    /// <summary>Long mode, 64-bit code segment, memory mapped one to one.</summary>
    Long64,
}
