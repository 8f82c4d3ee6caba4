namespace Vivarium.Devices;

/// <summary>How a command has ended (NVMe 1.4, 4.6.1): status code in the lower byte, status code type above it.</summary>
internal enum NvmeStatus : ushort
{
    Success = 0x000,
    InvalidOpcode = 0x001,
    InvalidField = 0x002,
    DataTransferError = 0x004,
    InternalError = 0x006,
    InvalidNamespace = 0x00B,
    InvalidPrpOffset = 0x013,
    NamespaceWriteProtected = 0x020,
    LbaOutOfRange = 0x080,
    CompletionQueueInvalid = 0x100,
    InvalidQueueId = 0x101,
    InvalidQueueSize = 0x102,
    EventRequestLimitExceeded = 0x105,
    InvalidInterruptVector = 0x108,
    InvalidLogPage = 0x109,
    InvalidQueueDeletion = 0x10C,
    FeatureNotSaveable = 0x10D,
    FeatureNotChangeable = 0x10E,
    WriteFault = 0x280,
    UnrecoveredReadError = 0x281,
}
