namespace Vivarium.Gdb;

/// <summary>The protocol's numbers: hexadecimal, in either case.</summary>
internal static class Hex
{
    /// <summary>The value of a digit; -1 if it is none.</summary>
    public static int Digit(byte value) => value switch
    {
        >= (byte)'0' and <= (byte)'9' => value - '0',
        >= (byte)'a' and <= (byte)'f' => value - 'a' + 10,
        >= (byte)'A' and <= (byte)'F' => value - 'A' + 10,
        _ => -1,
    };

    public static byte Character(int digit) => (byte)"0123456789abcdef"[digit];

    /// <summary>Turns pairs of digits into bytes. False: they are not, or there are not two for each byte.</summary>
    public static bool TryDecode(ReadOnlySpan<byte> digits, Span<byte> bytes)
    {
        if (digits.Length != bytes.Length * 2)
        {
            return false;
        }

        for (int i = 0; i < bytes.Length; i++)
        {
            int high = Digit(digits[i * 2]);
            int low = Digit(digits[(i * 2) + 1]);
            if (high < 0 || low < 0)
            {
                return false;
            }

            bytes[i] = (byte)((high << 4) | low);
        }

        return true;
    }
}
