using System.Buffers.Binary;

namespace Vivarium.Network;

/// <summary>DNS messages (RFC 1035, 4), read without trust.</summary>
internal static class DnsMessage
{
    public const ushort Port = 53;
    public const int HeaderLength = 12;
    public const int FlagsOffset = 2;
    public const int QuestionCountOffset = 4;
    public const int AnswerCountOffset = 6;
    public const int AuthorityCountOffset = 8;
    public const int AdditionalCountOffset = 10;

    public const ushort FlagResponse = 0x8000;
    public const ushort FlagOpcode = 0x7800;
    public const ushort FlagRecursionDesired = 0x0100;
    public const ushort FlagRecursionAvailable = 0x0080;
    public const ushort ResponseCode = 0x000F;
    public const ushort Refused = 5;

    public const ushort TypeA = 1;
    public const ushort TypeCname = 5;
    public const ushort TypeAaaa = 28;
    public const ushort ClassInternet = 1;

    /// <summary>Longest name in characters with dots; 255 bytes on the wire.</summary>
    public const int MaximumName = 255;

    private const int QuestionTail = 4;
    private const int RecordTail = 10;
    private const int PointerMask = 0xC0;
    private const int MaximumPointers = 64;

    /// <summary>A resource record; its name and data are offsets in the message.</summary>
    public readonly record struct Record(int NameOffset, ushort Type, ushort Class, uint TimeToLive, int DataOffset, int DataLength);

    /// <summary>
    /// Reads the one question of a message into <paramref name="name"/> in lower case. False unless it has exactly one,
    /// of the Internet's class, for a name that a host can have.
    /// </summary>
    public static bool TryReadQuestion(ReadOnlySpan<byte> message, Span<char> name, out int nameLength, out int end)
    {
        nameLength = end = 0;
        if (message.Length < HeaderLength || BinaryPrimitives.ReadUInt16BigEndian(message[QuestionCountOffset..]) != 1)
            return false;
        if (!TryReadName(message, HeaderLength, name, out nameLength, out var at) || message.Length - at < QuestionTail)
            return false;
        end = at + QuestionTail;
        return BinaryPrimitives.ReadUInt16BigEndian(message[(at + 2)..]) == ClassInternet;
    }

    /// <summary>A query as stub resolvers send it: one question, and at most one additional record, for EDNS (RFC 6891).</summary>
    public static bool TryReadQuery(ReadOnlySpan<byte> message, Span<char> name, out int nameLength, out int questionEnd)
    {
        if (!TryReadQuestion(message, name, out nameLength, out questionEnd))
            return false;
        return (BinaryPrimitives.ReadUInt16BigEndian(message[FlagsOffset..]) & (FlagResponse | FlagOpcode)) == 0
            && BinaryPrimitives.ReadUInt16BigEndian(message[AnswerCountOffset..]) == 0
            && BinaryPrimitives.ReadUInt16BigEndian(message[AuthorityCountOffset..]) == 0
            && BinaryPrimitives.ReadUInt16BigEndian(message[AdditionalCountOffset..]) <= 1;
    }

    /// <summary>Reads the record at an offset and moves it behind; false when the message ends within.</summary>
    public static bool TryReadRecord(ReadOnlySpan<byte> message, ref int at, out Record record)
    {
        record = default;
        var nameOffset = at;
        if (!TrySkipName(message, at, out var tail) || message.Length - tail < RecordTail)
            return false;
        var fields = message[tail..];
        int length = BinaryPrimitives.ReadUInt16BigEndian(fields[8..]);
        if (length > fields.Length - RecordTail)
            return false;
        record = new(
            nameOffset,
            BinaryPrimitives.ReadUInt16BigEndian(fields),
            BinaryPrimitives.ReadUInt16BigEndian(fields[2..]),
            BinaryPrimitives.ReadUInt32BigEndian(fields[4..]),
            tail + RecordTail,
            length);
        at = tail + RecordTail + length;
        return true;
    }

    /// <summary>
    /// Reads a name, compressed or not (4.1.4), as dotted lower-case text. False for one that does not end within the
    /// message, is too long, is the root, or has characters that host names have not.
    /// </summary>
    public static bool TryReadName(ReadOnlySpan<byte> message, int at, Span<char> name, out int length, out int end)
    {
        length = end = 0;
        var pointers = 0;
        while (true)
        {
            if ((uint)at >= (uint)message.Length)
                return false;
            int label = message[at++];
            if (label == 0)
            {
                if (pointers == 0)
                    end = at;
                return length > 0;
            }
            if ((label & PointerMask) == PointerMask)
            {
                if (at >= message.Length || ++pointers > MaximumPointers)
                    return false;
                if (pointers == 1)
                    end = at + 1;
                at = (label & ~PointerMask) << 8 | message[at];
                continue;
            }
            if ((label & PointerMask) != 0 || label > message.Length - at || length + label + 1 > Math.Min(name.Length, MaximumName))
                return false;
            if (length > 0)
                name[length++] = '.';
            foreach (var character in message.Slice(at, label))
            {
                var lower = (char)(character is >= (byte)'A' and <= (byte)'Z' ? character | 0x20 : character);
                if (!char.IsAsciiLetterOrDigit(lower) && lower is not ('-' or '_'))
                    return false;
                name[length++] = lower;
            }
            at += label;
        }
    }

    private static bool TrySkipName(ReadOnlySpan<byte> message, int at, out int end)
    {
        end = 0;
        while ((uint)at < (uint)message.Length)
        {
            int label = message[at++];
            if ((label & PointerMask) == PointerMask)
            {
                end = at + 1;
                return end <= message.Length;
            }
            if (label == 0)
            {
                end = at;
                return true;
            }
            at += label;
        }
        return false;
    }
}
