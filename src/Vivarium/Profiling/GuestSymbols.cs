using System.Globalization;
using System.Text;

namespace Vivarium.Profiling;

/// <summary>Names of the guest's code, by address.</summary>
internal sealed class GuestSymbols
{
    /// <summary>What follows a file's last symbol is only believed to belong to it so far.</summary>
    private const ulong LongestFunction = 1 << 20;

    private const int LongestName = 200;

    private readonly ulong[] _starts;
    private readonly Symbol[] _symbols;

    private GuestSymbols(List<Symbol> symbols)
    {
        symbols.Sort((a, b) => a.Start.CompareTo(b.Start));
        _symbols = [.. symbols];
        _starts = [.. symbols.Select(symbol => symbol.Start)];
    }

    /// <param name="Start">Its address.</param>
    /// <param name="Size">In bytes; 0: up to the next.</param>
    /// <param name="Name">Without spaces and control characters.</param>
    internal readonly record struct Symbol(ulong Start, ulong Size, string Name);

    public int Count => _symbols.Length;

    /// <exception cref="InvalidInputException">A file cannot be read, or is neither a list of symbols nor an ELF file with symbols.</exception>
    public static GuestSymbols Load(IEnumerable<string> files)
    {
        var symbols = new List<Symbol>();
        foreach (string file in files)
        {
            int before = symbols.Count;
            try
            {
                using var stream = new FileStream(file, FileMode.Open, FileAccess.Read);
                if (!ElfSymbols.TryRead(stream, symbols))
                {
                    stream.Position = 0;
                    ReadList(stream, symbols);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
            {
                throw new InvalidInputException($"cannot read symbols from '{file}': {e.Message}", e);
            }

            if (symbols.Count == before)
            {
                throw new InvalidInputException($"'{file}' has no symbols of code; give a System.map, a copy of the guest's /proc/kallsyms (read as root), or an ELF file that is not stripped");
            }
        }

        return new GuestSymbols(symbols);
    }

    /// <summary>The function at an address, or <c>guest_</c> with the address.</summary>
    public string NameOf(ulong rip)
    {
        int index = Array.BinarySearch(_starts, rip);
        if (index < 0)
        {
            index = ~index - 1;
        }

        if (index >= 0)
        {
            Symbol symbol = _symbols[index];
            if (rip - symbol.Start < (symbol.Size != 0 ? symbol.Size : LongestFunction))
            {
                return symbol.Name;
            }
        }

        return string.Create(CultureInfo.InvariantCulture, $"guest_{rip:x}");
    }

    /// <summary>A name that is one word of a line.</summary>
    public static string Clean(ReadOnlySpan<char> name)
    {
        var text = new StringBuilder();
        foreach (char letter in name[..Math.Min(name.Length, LongestName)])
        {
            text.Append(letter is > ' ' and < '\x7f' ? letter : '_');
        }

        return text.ToString();
    }

    /// <summary>Lines such as <c>ffffffff81000000 T _stext</c>; those of code (types t and w) count, others are passed over.</summary>
    private static void ReadList(Stream stream, List<Symbol> symbols)
    {
        const int longestLine = 4096;
        using var reader = new StreamReader(stream, Encoding.Latin1);
        char[] line = new char[longestLine];
        int length = 0;
        for (int next = reader.Read(); ; next = reader.Read())
        {
            if (next is '\n' or < 0)
            {
                ReadLine(line.AsSpan(0, length), symbols);
                length = 0;
                if (next < 0)
                {
                    return;
                }
            }
            else if (length < longestLine)
            {
                line[length++] = (char)next;
            }
        }
    }

    private static void ReadLine(ReadOnlySpan<char> line, List<Symbol> symbols)
    {
        Span<Range> words = stackalloc Range[4];
        int count = line.SplitAny(words, " \t\r", StringSplitOptions.RemoveEmptyEntries);
        if (count >= 3
            && ulong.TryParse(line[words[0]], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong address) && address != 0
            && line[words[1]] is "t" or "T" or "w" or "W")
        {
            symbols.Add(new Symbol(address, 0, Clean(line[words[2]])));
        }
    }
}
