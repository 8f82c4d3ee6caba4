namespace Vivarium.Share.Host;

/// <summary>Linux's error numbers, the same for host and guest. Methods of this room return one, 0 for success.</summary>
internal static class Errno
{
    public const int None = 0;
    public const int Permission = 1;
    public const int NoEntry = 2;
    public const int Interrupted = 4;
    public const int Io = 5;
    public const int NoDevice = 6;
    public const int BadDescriptor = 9;
    public const int Again = 11;
    public const int Access = 13;
    public const int Exists = 17;
    public const int NotDirectory = 20;
    public const int IsDirectory = 21;
    public const int Invalid = 22;
    public const int TooManyFilesInSystem = 23;
    public const int TooManyFiles = 24;
    public const int ReadOnly = 30;
    public const int NameTooLong = 36;
    public const int NotImplemented = 38;
    public const int Loop = 40;
    public const int Protocol = 71;
    public const int NotSupported = 95;
    public const int Stale = 116;
}
