namespace Vivarium.Devices;

/// <summary>Why a command has failed (SPC-3, 4.5): sense key, additional sense code and its qualifier.</summary>
internal readonly record struct Sense(byte Key, byte Code, byte Qualifier)
{
    private const byte NotReady = 2, MediumError = 3, IllegalRequest = 5, UnitAttention = 6;

    public static readonly Sense None = default;
    public static readonly Sense MediumNotPresentTrayClosed = new(NotReady, 0x3A, 0x01);
    public static readonly Sense MediumNotPresentTrayOpen = new(NotReady, 0x3A, 0x02);
    public static readonly Sense UnrecoveredReadError = new(MediumError, 0x11, 0x00);
    public static readonly Sense InvalidCommand = new(IllegalRequest, 0x20, 0x00);
    public static readonly Sense BlockOutOfRange = new(IllegalRequest, 0x21, 0x00);
    public static readonly Sense InvalidField = new(IllegalRequest, 0x24, 0x00);
    public static readonly Sense IncompatibleMedium = new(IllegalRequest, 0x30, 0x02);
    public static readonly Sense SavingNotSupported = new(IllegalRequest, 0x39, 0x00);
    public static readonly Sense RemovalPrevented = new(IllegalRequest, 0x53, 0x02);
    public static readonly Sense IllegalModeForTrack = new(IllegalRequest, 0x64, 0x00);
    public static readonly Sense MediumMayHaveChanged = new(UnitAttention, 0x28, 0x00);
    public static readonly Sense Reset = new(UnitAttention, 0x29, 0x00);
}
