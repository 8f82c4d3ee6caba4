namespace Vivarium.Share.Host;

/// <summary>struct timespec.</summary>
internal struct Timespec
{
    /// <summary>Nanoseconds that mean "the present time" (utimensat(2)).</summary>
    public const long Now = (1 << 30) - 1;

    /// <summary>Nanoseconds that mean "leave it as it is".</summary>
    public const long Omit = (1 << 30) - 2;

    public long Seconds;
    public long Nanoseconds;
}
