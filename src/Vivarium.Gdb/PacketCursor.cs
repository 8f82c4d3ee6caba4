namespace Vivarium.Gdb;

/// <summary>Reads a packet's fields from left to right; a field that is not there is not taken.</summary>
internal ref struct PacketCursor(ReadOnlySpan<byte> text)
{
    public ReadOnlySpan<byte> Rest { get; private set; } = text;

    public readonly bool AtEnd => Rest.IsEmpty;

    public bool Take(char expected)
    {
        if (Rest.IsEmpty || Rest[0] != expected)
        {
            return false;
        }

        Rest = Rest[1..];
        return true;
    }

    public bool Take(ReadOnlySpan<byte> expected)
    {
        if (!Rest.StartsWith(expected))
        {
            return false;
        }

        Rest = Rest[expected.Length..];
        return true;
    }

    public bool TryTake(out byte value)
    {
        value = Rest.IsEmpty ? (byte)0 : Rest[0];
        Rest = Rest.IsEmpty ? Rest : Rest[1..];
        return value != 0;
    }

    /// <summary>A hexadecimal number of at most 64 bits.</summary>
    public bool TryTakeNumber(out ulong value)
    {
        value = 0;
        int digits = 0;
        for (; digits < Rest.Length && Hex.Digit(Rest[digits]) is >= 0 and var digit; digits++)
        {
            if (value >> 60 != 0)
            {
                return false;
            }

            value = (value << 4) | (uint)digit;
        }

        Rest = Rest[digits..];
        return digits != 0;
    }

    /// <summary>A hexadecimal number that is at most <paramref name="most"/>.</summary>
    public bool TryTakeNumber(int most, out int value)
    {
        bool taken = TryTakeNumber(out ulong number) && number <= (ulong)most;
        value = taken ? (int)number : 0;
        return taken;
    }

    /// <summary>What stands before a separator, or before the end; the separator goes too.</summary>
    public ReadOnlySpan<byte> TakeUntil(char separator)
    {
        int end = Rest.IndexOf((byte)separator);
        ReadOnlySpan<byte> part = end < 0 ? Rest : Rest[..end];
        Rest = end < 0 ? default : Rest[(end + 1)..];
        return part;
    }
}
