using System.Text;

namespace Vivarium.Cli.Verbs;

/// <summary>The parts of an option's value between commas; a comma that belongs to a part is written twice.</summary>
internal static class OptionParts
{
    public static List<string> Split(string text)
    {
        var parts = new List<string>();
        var part = new StringBuilder();
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] != ',')
            {
                part.Append(text[i]);
            }
            else if (i + 1 < text.Length && text[i + 1] == ',')
            {
                part.Append(',');
                i++;
            }
            else
            {
                parts.Add(part.ToString());
                _ = part.Clear();
            }
        }

        parts.Add(part.ToString());
        return parts;
    }
}
