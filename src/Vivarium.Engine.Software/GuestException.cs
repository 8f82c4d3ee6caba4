namespace Vivarium.Engine.Software;

/// <summary>Exception vectors (SDM vol. 3A, table 6-1).</summary>
internal enum Vector : byte
{
    DivideError = 0,
    Debug = 1,
    Nmi = 2,
    Breakpoint = 3,
    Overflow = 4,
    BoundRange = 5,
    InvalidOpcode = 6,
    DeviceNotAvailable = 7,
    DoubleFault = 8,
    InvalidTss = 10,
    SegmentNotPresent = 11,
    StackFault = 12,
    GeneralProtection = 13,
    PageFault = 14,
    X87 = 16,
    AlignmentCheck = 17,
    MachineCheck = 18,
    Simd = 19,
}

/// <summary>
/// A fault raised while the monitor emulates an instruction. It unwinds to the run loop, which delivers it at the
/// instruction's RIP; nothing the instruction did may be visible. Translated code raises its faults without it.
/// </summary>
internal sealed class GuestException(Vector vector, uint? errorCode = null) : Exception
{
    public Vector Vector { get; } = vector;

    public uint? ErrorCode { get; } = errorCode;

    public static GuestException Undefined() => new(Vector.InvalidOpcode);

    public static GuestException Protection(uint errorCode = 0) => new(Vector.GeneralProtection, errorCode);

    public static GuestException Stack(uint errorCode = 0) => new(Vector.StackFault, errorCode);
}
