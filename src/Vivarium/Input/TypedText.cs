using System.Text;
using Vivarium.Devices;

namespace Vivarium.Input;

/// <summary>Text that is to be typed at a machine.</summary>
public static class TypedText
{
    /// <summary>Checks that everything in a text can be typed.</summary>
    /// <exception cref="InvalidInputException">It cannot; the message names the characters.</exception>
    public static void Check(string text)
    {
        List<string> strange = [];
        foreach (Rune rune in text.EnumerateRunes())
        {
            string name = Rune.IsControl(rune) ? $"U+{rune.Value:X4}" : $"'{rune}' (U+{rune.Value:X4})";
            if (!(rune.IsBmp && UsKeyboard.TryFind((char)rune.Value, out _, out _)) && !strange.Contains(name))
            {
                strange.Add(name);
            }
        }

        if (strange.Count != 0)
        {
            throw new InvalidInputException($"a US keyboard cannot type {string.Join(", ", strange)}; leave it out, or paste it through the serial console");
        }
    }
}
