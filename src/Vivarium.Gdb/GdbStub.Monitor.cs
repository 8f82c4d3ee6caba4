using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Vivarium.Engine;

namespace Vivarium.Gdb;

// qRcmd: what a user writes behind "monitor".
internal sealed partial class GdbStub
{
    private const int MostWords = 4096;

    private const string Help = """
        monitor help                     this text
        monitor info registers [N]       all registers of the chosen processor, or of processor N
        monitor info cpus                the processors, and what they do
        monitor translate ADDRESS        where the chosen processor's page tables map an address
        monitor xp[/COUNT[SIZE]] ADDRESS physical memory; SIZE is b, h, w (the default) or g
        monitor phys on|off              x, print and set use physical addresses
        monitor arch 32|64               registers of the next connection; outside of 64-bit code, 32 suits GDB

        """;

    private void RunMonitorCommand(ReadOnlySpan<byte> digits)
    {
        byte[] text = new byte[digits.Length / 2];
        if (!Hex.TryDecode(digits, text))
        {
            _ = _reply.Error(ErrorNumber.Invalid);
            return;
        }

        byte[] answer = Encoding.UTF8.GetBytes(Answer(Encoding.UTF8.GetString(text).Split(' ', StringSplitOptions.RemoveEmptyEntries)));

        // An empty answer would mean that we know no such packet.
        _ = answer.Length == 0 ? _reply.Ok() : _reply.Bytes(answer.AsSpan(0, Math.Min(answer.Length, MaxPacketData / 2)));
    }

    private string Answer(string[] words)
    {
        switch (words)
        {
            case [] or ["help"]:
                return Help;
            case ["info", "registers"]:
                return RegisterDump.Format(_processors[_general]) + "\n";
            case ["info", "registers", var number]:
                return int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int processor) && processor < _target.Processors.Count
                    ? RegisterDump.Format(_processors[processor]) + "\n"
                    : $"there is no processor {number}\n";
            case ["info", "cpus"]:
                return string.Concat(Enumerable.Range(0, _target.Processors.Count).Select(i =>
                    $"{(i == _general ? '*' : ' ')} {i}: rip {_processors[i].Rip:x16} cr3 {_processors[i].Cr3:x16} {Describe(i)}\n"));
            case ["translate", var address]:
                return !TryParseAddress(address, out ulong linear) ? $"'{address}' is no address\n"
                    : _target.Processors[_general].TryTranslate(linear, out ulong gpa) ? $"{linear:x16} is at physical {gpa:x16}\n"
                    : $"{linear:x16} is not mapped\n";
            case ["phys", "on" or "off"]:
                _physical = words[1] == "on";
                return $"addresses are {(_physical ? "physical" : "virtual")}\n";
            case ["arch", "32" or "64"]:
                Wants32 = words[1] == "32";
                return $"the next connection gets {words[1]}-bit registers: disconnect, and connect again\n";
            case [var xp, var address] when xp.StartsWith("xp", StringComparison.Ordinal):
                return DumpPhysical(xp[2..], address);
            default:
                return $"unknown command '{string.Join(' ', words)}'; see monitor help\n";
        }
    }

    private string DumpPhysical(string format, string address)
    {
        if (!TryParseFormat(format, out int count, out int size) || !TryParseAddress(address, out ulong gpa))
        {
            return "write for example: monitor xp/16w 0x1000\n";
        }

        const int lineLength = 16;
        var text = new StringBuilder();
        Span<byte> word = stackalloc byte[sizeof(ulong)];
        for (int i = 0; i < count; i++, gpa += (ulong)size)
        {
            word.Clear();
            if (!_target.Memory.TryRead(gpa, word[..size]))
            {
                return text.Append(CultureInfo.InvariantCulture, $"{(i == 0 ? "" : "\n")}{gpa:x16} is not memory\n").ToString();
            }

            bool first = i % (lineLength / size) == 0;
            _ = text.Append(first ? i == 0 ? $"{gpa:x16}:" : $"\n{gpa:x16}:" : "")
                .Append(' ').Append(BinaryPrimitives.ReadUInt64LittleEndian(word).ToString("x16", CultureInfo.InvariantCulture).AsSpan(16 - (size * 2)));
        }

        return text.Append('\n').ToString();
    }

    /// <summary>/COUNT and a letter, both of which may be missing.</summary>
    private static bool TryParseFormat(string format, out int count, out int size)
    {
        count = 1;
        size = sizeof(uint);
        if (format.Length == 0)
        {
            return true;
        }

        if (format.Length < 2 || format[0] != '/')
        {
            return false;
        }

        int letter = "bhwg".IndexOf(format[^1], StringComparison.Ordinal);
        string digits = letter < 0 ? format[1..] : format[1..^1];
        size = letter < 0 ? size : 1 << letter;
        return digits.Length == 0 || (int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out count) && count is >= 1 and <= MostWords);
    }

    private static bool TryParseAddress(string text, out ulong address) => text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
        ? ulong.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out address)
        : ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out address);
}
