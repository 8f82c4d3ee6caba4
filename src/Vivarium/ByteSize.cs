using System.Globalization;

namespace Vivarium;

/// <summary>Sizes as people write them: a number of bytes, or of K, M, G, T (powers of 1024; a trailing B or iB is allowed).</summary>
public static class ByteSize
{
    public const ulong KiB = 1ul << 10;
    public const ulong MiB = 1ul << 20;
    public const ulong GiB = 1ul << 30;

    public static bool TryParse(string text, out ulong bytes)
    {
        ArgumentNullException.ThrowIfNull(text);
        bytes = 0;
        ReadOnlySpan<char> rest = text.AsSpan();
        rest = rest.EndsWith("iB", StringComparison.OrdinalIgnoreCase) ? rest[..^2] : rest.EndsWith("B", StringComparison.OrdinalIgnoreCase) ? rest[..^1] : rest;
        int shift = rest.IsEmpty ? 0 : char.ToUpperInvariant(rest[^1]) switch { 'K' => 10, 'M' => 20, 'G' => 30, 'T' => 40, _ => 0 };
        if (shift != 0)
        {
            rest = rest[..^1];
        }

        if (!ulong.TryParse(rest, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) || number > ulong.MaxValue >> shift)
        {
            return false;
        }

        bytes = number << shift;
        return true;
    }

    /// <summary>The shortest exact form: 512M, 4G, 1500K, 77.</summary>
    public static string Format(ulong bytes) => bytes switch
    {
        0 => "0",
        _ when bytes % GiB == 0 => $"{bytes / GiB}G",
        _ when bytes % MiB == 0 => $"{bytes / MiB}M",
        _ when bytes % KiB == 0 => $"{bytes / KiB}K",
        _ => bytes.ToString(CultureInfo.InvariantCulture),
    };
}
