using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Vivarium.Network;

/// <summary>An Ethernet address of 48 bits, the first byte on the wire the most significant.</summary>
public readonly record struct MacAddress(ulong Value)
{
    private const int Length = 6;

    /// <summary>Locally administered (IEEE 802, 8.2.2), and the bit of group addresses.</summary>
    private const ulong Local = 0x02UL << 40;
    private const ulong Group = 0x01UL << 40;

    /// <summary>The same address for the same machine on every run, so that guests recognise their card.</summary>
    public static MacAddress ForMachine(string name, int card = 0)
    {
        ArgumentNullException.ThrowIfNull(name);
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{name}\0{card}"));
        ulong value = 0;
        for (var i = 0; i < Length; i++)
            value = value << 8 | hash[i];
        return new(value & ~Group | Local);
    }

    /// <exception cref="FormatException">Not six bytes in hexadecimal with colons, or a group's address.</exception>
    public static MacAddress Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var parts = text.Split(':', '-');
        ulong value = 0;
        var good = parts.Length == Length;
        foreach (var part in parts)
        {
            good &= part.Length == 2 && byte.TryParse(part, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out _);
            if (good)
                value = value << 8 | byte.Parse(part, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        }
        if (!good)
            throw new FormatException($"'{text}' is no MAC address; write six bytes like 52:54:00:12:34:56.");
        if ((value & Group) != 0 || value == 0)
            throw new FormatException($"'{text}' cannot be a card's MAC address: it is that of a group or zero; make the first byte even, for instance 52.");
        return new(value);
    }

    /// <summary>Writes the six bytes in the order of the wire.</summary>
    public void CopyTo(Span<byte> destination)
    {
        for (var i = 0; i < Length; i++)
            destination[i] = (byte)(Value >> (8 * (Length - 1 - i)));
    }

    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[Length];
        CopyTo(bytes);
        return $"{bytes[0]:x2}:{bytes[1]:x2}:{bytes[2]:x2}:{bytes[3]:x2}:{bytes[4]:x2}:{bytes[5]:x2}";
    }
}
