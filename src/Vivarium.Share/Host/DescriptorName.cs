using System.Diagnostics;
using System.Globalization;

namespace Vivarium.Share.Host;

/// <summary>What a descriptor is called in /proc/self/fd: its number in decimal, with a NUL.</summary>
internal static unsafe class DescriptorName
{
    /// <summary>Room for every number.</summary>
    public const int Length = 12;

    public static void Write(int descriptor, byte* name)
    {
        bool fits = descriptor.TryFormat(new Span<byte>(name, Length - 1), out int written, provider: CultureInfo.InvariantCulture);
        Debug.Assert(fits);
        name[written] = 0;
    }
}
