namespace Vivarium.Devices;

/// <summary>What follows a command packet.</summary>
internal enum MmcOutcome : byte
{
    /// <summary>Nothing: the command is done.</summary>
    Good,

    /// <summary>Check condition: the drive's sense says why.</summary>
    Failed,

    /// <summary>The drive's <see cref="MmcDrive.Response"/> goes to the host.</summary>
    Data,

    /// <summary>Blocks of the medium go to the host.</summary>
    Blocks,
}
