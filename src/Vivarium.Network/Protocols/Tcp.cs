namespace Vivarium.Network;

/// <summary>The header of TCP (RFC 9293, 3.1).</summary>
internal static class Tcp
{
    public const int MinimumHeaderLength = 20;
    public const int SequenceOffset = 4;
    public const int AcknowledgmentOffset = 8;
    public const int DataOffset = 12;
    public const int FlagsOffset = 13;
    public const int WindowOffset = 14;
    public const int ChecksumOffset = 16;

    public const byte Fin = 0x01;
    public const byte Syn = 0x02;
    public const byte Reset = 0x04;
    public const byte Push = 0x08;
    public const byte Acknowledge = 0x10;
}
