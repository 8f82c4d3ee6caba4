namespace Vivarium.Devices;

/// <summary>The Error register after a command (ATA8-ACS, 6.2).</summary>
[Flags]
internal enum AtaError : byte
{
    None = 0,

    /// <summary>ABRT: the command is unknown, not possible now, or its parameters are wrong.</summary>
    Abort = 1 << 2,

    /// <summary>IDNF: there is no such sector.</summary>
    IdNotFound = 1 << 4,

    /// <summary>UNC: the sector cannot be read.</summary>
    Uncorrectable = 1 << 6,
}
