namespace Vivarium.Devices;

/// <summary>The Status register (ATA8-ACS, 6.1).</summary>
[Flags]
internal enum AtaStatus : byte
{
    None = 0,

    /// <summary>ERR: the Error register says what went wrong.</summary>
    Error = 1 << 0,

    /// <summary>DRQ: data is to be moved.</summary>
    DataRequest = 1 << 3,

    /// <summary>DSC: the heads have arrived; systems of old wait for it.</summary>
    SeekComplete = 1 << 4,

    /// <summary>DF.</summary>
    DeviceFault = 1 << 5,

    /// <summary>DRDY: commands are taken.</summary>
    Ready = 1 << 6,

    /// <summary>BSY: the device owns the registers.</summary>
    Busy = 1 << 7,
}
